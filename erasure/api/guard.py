"""Who may use the API: whoever may use its host.

Routes that are added to a web UI are open to everybody, even if it demands a login, so they are guarded here.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp

Guard = Callable[[Request], Awaitable[None]]

# Where gradio says whether the caller is logged in: up to version 4, and from 5 on.
_LOGIN_CHECKS = ("/login_check", "/gradio_api/login_check")
_OF_BODY = (b"content-length", b"content-type", b"transfer-encoding")
_READING = ("GET", "HEAD", "OPTIONS")


def make_guard(app: Starlette, accounts: str | Mapping[str, str] | None = None) -> Guard:
    """Return a check that lets in whoever is logged in to ``app`` (gradio's cookie) or has an account (HTTP Basic).

    ``accounts``: user -> password, or a text as ``--api-auth`` of web UIs takes it: "user:password", several with
    commas between. The API is open only if there are no accounts and gradio demands no login. The guard raises
    HTTPException 401.
    """
    known = _accounts(accounts)

    async def guard(request: Request) -> None:
        if _is_known(request.headers.get("authorization", ""), known):
            return
        login = await _login_check(app, ())
        if login == 401 and await _login_check(app, request.scope["headers"]) == 200:
            return
        if login in (200, 404) and not known:
            return
        # Without accounts, the browser's own dialog for a password would be useless.
        headers = {"WWW-Authenticate": 'Basic realm="Adversarial Erase", charset="UTF-8"'} if known else None
        ways = ["log in to the page"] * (login == 401) + ["send user and password by HTTP Basic"] * bool(known)
        broken = f"the login check of this page answered with status {login}; see the program's console"
        raise HTTPException(401, f"a login is needed: {' or '.join(ways)}" if ways else broken, headers)

    return guard


def refuse_foreign_page(request: Request) -> None:
    """Refuse changes that a page of another site asks for with its visitor's login. Raises: HTTPException 403."""
    if request.method in _READING:
        return
    origin = request.headers.get("origin")
    # Browsers send this over safe connections; otherwise the page's origin is compared with the host it asked.
    site = request.headers.get("sec-fetch-site")
    hosts = (request.headers.get("host"), request.headers.get("x-forwarded-host"))
    foreign = site not in ("same-origin", "none") if site else bool(origin) and _place(str(origin)) not in hosts
    if foreign:
        raise HTTPException(403, "a page of another site may not change anything here; use this program's own page")


def _place(origin: str) -> str | None:
    """Return the host and port of an origin; "" if it is none, which no host is called."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def demand_json(request: Request) -> None:
    """Refuse a POST or PUT of anything but JSON, above all of a plain form. Raises: HTTPException 415."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if request.method in ("POST", "PUT") and kind != "application/json":
        given = f"not {kind}" if kind else "and this one has no type"
        raise HTTPException(415, f"the body must be JSON (Content-Type: application/json), {given}")


def _accounts(accounts: str | Mapping[str, str] | None) -> tuple[bytes, ...]:
    if isinstance(accounts, str):
        pairs = [pair.strip() for pair in accounts.replace("\n", ",").split(",") if pair.strip()]
    else:
        pairs = [f"{user}:{password}" for user, password in (accounts or {}).items()]
    return tuple(pair.encode("utf-8") for pair in pairs if ":" in pair)


def _is_known(authorization: str, accounts: Iterable[bytes]) -> bool:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    # All are compared, each in constant time, so that the time taken reveals nothing.
    return sum(hmac.compare_digest(given, account) for account in accounts) > 0


async def _login_check(app: ASGIApp, headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the status of the app's own login check for these headers: 200, 401, or 404 if it has none.

    This is a request inside the process, because the functions behind it differ between versions of gradio.
    """
    kept = [(name, value) for name, value in headers if name.lower() not in _OF_BODY]
    status = 404
    # The bare transport: a client would write a line to the log for every call of the API.
    transport = httpx.ASGITransport(app)
    for path in _LOGIN_CHECKS:
        asked = httpx.Request("GET", f"http://127.0.0.1{path}", headers=kept)
        status = (await transport.handle_async_request(asked)).status_code
        if status != 404:
            break
    return status
