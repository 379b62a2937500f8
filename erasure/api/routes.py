"""The routes, and what they have in common: the guard, JSON in, JSON or a file out, errors as lists of problems."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from erasure import bounded_json
from erasure.api import choice_handlers, job_handlers, lora_handlers
from erasure.api.answers import finite, job_dict, problems_of, status_of
from erasure.api.call import Call, Content, File, Handler
from erasure.api.guard import Guard, demand_json, refuse_foreign_page
from erasure.errors import ConfigError, EraseError, one_line
from erasure.host.base import Host
from erasure.jobs.manager import JobManager

PREFIX = "/adversarial-erase/v1"
LARGEST_BODY = 1_000_000  # bytes; a config is a few thousand
_MOST_VALUES = 20_000  # in a body
LONGEST_POLL = 25.0  # seconds; proxies give up after 30 or 60
_POLL_EVERY = 0.2  # seconds

Endpoint = Callable[[Request], Awaitable[Response]]

# method, path, status of success, handler
ROUTES: tuple[tuple[str, str, int, Handler], ...] = (
    ("GET", "/jobs", 200, job_handlers.list_jobs),
    ("POST", "/jobs", 201, job_handlers.create_job),
    ("GET", "/jobs/{id}", 200, job_handlers.get_job),
    ("DELETE", "/jobs/{id}", 200, job_handlers.delete_job),
    ("GET", "/jobs/{id}/preview/{step}.png", 200, job_handlers.get_preview),
    ("GET", "/jobs/{id}/lora", 200, job_handlers.get_lora),
    ("POST", "/jobs/{id}/{action}", 200, job_handlers.act_on_job),
    ("POST", "/concepts", 200, job_handlers.get_concepts),
    ("POST", "/measure", 202, lora_handlers.start_measuring),
    ("GET", "/measure", 200, lora_handlers.get_measurement),
    ("DELETE", "/measure", 200, lora_handlers.cancel_measurement),
    ("POST", "/combine", 202, lora_handlers.start_combining),
    ("GET", "/combine", 200, lora_handlers.get_combination),
    ("GET", "/combine/pictures.png", 200, lora_handlers.get_combination_pictures),
    ("DELETE", "/combine", 200, lora_handlers.cancel_combination),
    ("POST", "/bake", 202, lora_handlers.start_baking),
    ("GET", "/bake", 200, lora_handlers.get_bake),
    ("DELETE", "/bake", 200, lora_handlers.cancel_bake),
    ("POST", "/inspect", 200, lora_handlers.check_lora),
    ("POST", "/share", 201, lora_handlers.share_lora),
    ("GET", "/share", 200, lora_handlers.list_shared),
    ("GET", "/share/{name}.zip", 200, lora_handlers.get_shared),
    ("POST", "/upload/offer", 200, lora_handlers.offer_upload),
    ("POST", "/upload", 202, lora_handlers.start_upload),
    ("GET", "/upload", 200, lora_handlers.get_upload),
    ("DELETE", "/upload", 200, lora_handlers.cancel_upload),
    ("GET", "/always-on", 200, lora_handlers.get_always_on),
    ("PUT", "/always-on", 200, lora_handlers.put_always_on),
    ("GET", "/presets", 200, choice_handlers.list_presets),
    ("PUT", "/presets/{name}", 200, choice_handlers.put_preset),
    ("DELETE", "/presets/{name}", 200, choice_handlers.remove_preset),
    ("GET", "/schema", 200, choice_handlers.get_schema),
    ("GET", "/checkpoints", 200, choice_handlers.list_checkpoints),
)


def mount_api(app: Starlette, manager: JobManager, host: Host, guard: Guard | None = None) -> None:
    """Serve the API below :data:`PREFIX` of ``app``, which may be a FastAPI; it replaces an API mounted there before.

    ``guard``: see :func:`erasure.api.guard.make_guard`; None leaves the API open to everybody.
    """

    def serve(work: Endpoint) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            if guard is not None:
                await guard(request)
            refuse_foreign_page(request)
            demand_json(request)
            try:
                return await work(request)
            except EraseError as error:
                problems = await run_in_threadpool(problems_of, error, host)
                return _json({"problems": problems}, status_of(error))

        return endpoint

    routes = [
        Route(path, serve(_work(manager, host, handler, status)), methods=[method])
        for method, path, status, handler in ROUTES
    ]
    follow = Route("/jobs/{id}/events", serve(_follow(app, manager, host)), methods=["GET"])
    api = Starlette(routes=[follow, *routes], exception_handlers={HTTPException: _problem, Exception: _unexpected})
    mounted = [route for route in app.router.routes if getattr(route, "path", None) == PREFIX]
    for route in mounted:
        app.router.routes.remove(route)
    app.mount(PREFIX, api)


def _work(manager: JobManager, host: Host, handler: Handler, status: int) -> Endpoint:
    async def work(request: Request) -> Response:
        body = await _body(request) if request.method in ("POST", "PUT") else {}
        call = Call(manager, host, request.path_params, request.query_params, body)
        answer = await run_in_threadpool(handler, call)
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if isinstance(answer, Content):
            return Response(answer.data, media_type=answer.kind, headers=headers)
        if isinstance(answer, File):
            return FileResponse(answer.path, media_type=answer.kind, filename=answer.name, headers=headers)
        return _json(answer, status)

    return work


def _follow(app: Starlette, manager: JobManager, host: Host) -> Endpoint:
    """Return a long poll: it answers once the job's version differs from ``since``, or after ``timeout`` seconds, or
    when the server is to end: it waits for all answers, and "Reload UI" with it.
    """

    async def work(request: Request) -> Response:
        call = Call(manager, host, request.path_params, request.query_params, {})
        since, timeout = _number(call, "since", -1), _number(call, "timeout", LONGEST_POLL)
        end = time.monotonic() + min(timeout, LONGEST_POLL)
        # Looks from time to time, because a waiting thread would be missing for other requests.
        while True:
            job = await run_in_threadpool(manager.snapshot, call.id)
            over = time.monotonic() >= end or _ends(app)
            if job.version != since or over or await request.is_disconnected():
                return _json(await run_in_threadpool(job_dict, job, host), 200)
            await asyncio.sleep(_POLL_EVERY)

    return work


def _ends(app: Starlette) -> bool:
    """Whether the server behind gradio's app was told to end; False for an app that is not gradio's."""
    server = getattr(getattr(app, "blocks", None), "server", None)
    return bool(getattr(server, "should_exit", False))


def _number(call: Call, name: str, default: float) -> float:
    """Return a number of the query. Raises: ConfigError if it is not a whole number from 0 up."""
    text = call.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 15:
        raise ConfigError([f"{name}: must be a whole number from 0 up, not {text[:50]!r}"])
    return float(text)


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request, {} for an empty body. Raises: HTTPException 400, 413."""
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > LARGEST_BODY:
            raise HTTPException(413, f"the body is larger than {LARGEST_BODY} bytes")
    try:
        values = bounded_json.parse(text, values=_MOST_VALUES) if text.strip() else {}
    except ValueError as error:
        raise HTTPException(400, one_line(f"the body is not valid JSON: {error}")) from error
    if not isinstance(values, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return values


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"problems": [error.detail]}, error.status_code, getattr(error, "headers", None))


def _unexpected(request: Request, error: Exception) -> Response:
    return _json({"problems": ["an unexpected error happened; the program's log has the details"]}, 500)


def _json(values: dict[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})}
    return _Ascii(finite(values), status, headers)


class _Ascii(JSONResponse):
    """JSON in ASCII: UTF-8 could not hold a file's name that is none, and the answer would be an error."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
