"""Hostile requests to the HTTP API, and the service that must answer each of them with what is wrong."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest.mock import patch

from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import strategies as st

from erasure.api.guard import make_guard
from erasure.api.routes import PREFIX, mount_api
from erasure.config.settings import EraseConfig, settings
from erasure.host.local import LocalHost
from erasure.jobs.concept_cache import cache_key
from erasure.jobs.manager import JobManager
from tests.hostile.files import SETTINGS
from tests.hostile.limits import Taken, limits
from tests.hostile.samples import Samples
from tests.hostile.values import BROKEN_JSON, PLAIN, STRANGE, TEXTS, changed, json_bytes

JOB: dict[str, Any] = {
    "checkpoint": "tiny.safetensors",
    "name": "no-church",
    "preset": "object",
    "quality": "quick",
    "config": SETTINGS,
}
MEASURE: dict[str, Any] = {"lora": "lora", "weight": 1.0, "erase": ["church"], "templates": ["{}"], "preset": "object"}
BAKE: dict[str, Any] = {"loras": [{"lora": "lora", "weight": 1.0}], "name": "baked", "checkpoint": "tiny.safetensors"}
ALWAYS: dict[str, Any] = {"rules": ["lora", {"lora": "lora", "weight": 1.0, "checkpoint": "tiny.safetensors"}]}
COMBINE: dict[str, Any] = {
    "loras": [{"lora": "lora", "weight": 1.0}],
    "name": "combined",
    "rank": 2,
    "erase": ["church"],
}
REFINE: dict[str, Any] = {"loras": ["lora"], "name": "refined", "rows": 100, "config": SETTINGS}
UPLOAD: dict[str, Any] = {"lora": "lora", "repo": "zoe/lora", "public": False, "overwrite": False}
PRESET: dict[str, Any] = {"description": "mine", "settings": SETTINGS, "overwrite": True}
SOUND: dict[str, dict[str, Any]] = {
    "jobs": JOB, "refine": REFINE, "concepts": JOB, "measure": MEASURE, "combine": COMBINE, "bake": BAKE,
    "always-on": ALWAYS, "upload/offer": UPLOAD, "presets": PRESET, "actions": {},
}  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(["mine", "con", "..", "a" * 61, "\U0001f600" * 50, "%00", "object", "\ud800", "ü" * 60]), TEXTS
)


@dataclass(frozen=True)
class HostileBody:
    """A request: what is sent where, and as what."""

    kind: str
    method: str
    path: str
    content: bytes
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)


@st.composite
def _bodies(draw: st.DrawFn, kind: str) -> HostileBody:
    sound = SOUND[kind]
    sound = {key: value for key, value in sound.items() if kind != "concepts" or key not in ("name", "quality")}
    names = st.one_of(st.sampled_from([*sound, *settings()]), TEXTS)
    content = draw(
        st.one_of(
            BROKEN_JSON,
            changed(sound, 4).map(json_bytes),
            changed(sound, 1).map(json_bytes),
            st.dictionaries(names, st.one_of(PLAIN, STRANGE), max_size=6).map(json_bytes),
            st.dictionaries(st.sampled_from(sorted(settings())), STRANGE, max_size=8).map(
                lambda config: json_bytes({**sound, "config": config})
            ),
        )
    )
    if kind == "presets":
        return HostileBody(kind, "PUT", f"/presets/{_quoted(draw(NAMES))}", content)
    if kind == "actions":
        action = draw(st.one_of(st.sampled_from(["pause", "resume", "stop", "discard", "train-on"]), NAMES))
        return HostileBody(kind, "POST", f"/jobs/{_quoted(draw(NAMES))}/{_quoted(action)}", content)
    path = "/jobs" if kind == "refine" else f"/{kind}"
    return HostileBody(kind, "PUT" if kind == "always-on" else "POST", path, content)


def _quoted(text: str) -> str:
    """Write any text as a part of a path, as a careless program does."""
    return "".join(f"%{byte:02X}" for byte in text[:3000].encode("utf-8", "surrogatepass")) or "-"


@st.composite
def _headers(draw: st.DrawFn) -> HostileBody:
    """A sound body with headers that are none."""
    name = draw(st.sampled_from(["origin", "host", "authorization", "content-type", "sec-fetch-site", "cookie"]))
    value = draw(
        st.one_of(
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=50),
            st.sampled_from(
                ["http://[", "http://[::1", "Basic ====", "Basic " + "A" * 5000, "application/json; charset=x", "null"]
            ),
        )
    )
    content = json.dumps(JOB).encode()
    kind = () if name == "content-type" else (("content-type", "application/json"),)
    return HostileBody("headers", "POST", "/jobs", content, (*kind, (name, value)))


BODIES: dict[str, st.SearchStrategy[HostileBody]] = {
    **{kind: _bodies(kind) for kind in SOUND},
    "headers": _headers(),
}


def _found(searching: object, checkpoint: Path, config: EraseConfig) -> dict[str, Any]:
    cache_key(checkpoint, config)
    return {"targets": [], "notes": []}


class Service(AbstractContextManager["Service"]):
    """The API over a manager that begins no job, with a LoRA and a checkpoint; what works on a device is left out."""

    def __init__(self, root: Path, samples: Samples):
        self._host = LocalHost(samples.original, root, "cpu", uploads=True)  # nothing is shared, so none begins
        loras = root / "loras"
        loras.mkdir(parents=True)
        (loras / "lora.safetensors").symlink_to(samples.lora)

    def __enter__(self) -> Service:
        self._patches: list[Any] = [
            patch("erasure.jobs.searching.Searching.find", _found),
            patch("erasure.jobs.errand.Errand.begin", lambda errand, *_: errand._gate.free()),
        ]
        for each in self._patches:
            each.start()
        self._manager = JobManager(self._host, start=False)
        app = FastAPI()
        mount_api(app, self._manager, self._host, make_guard(app))
        self._client = TestClient(app)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._manager.close()
        for each in self._patches:
            each.stop()

    def ask(self, body: HostileBody) -> tuple[str, Taken]:
        """Return the status of the answer and what it took. Raises: AssertionError; whatever the service raises."""
        with limits() as taken:
            answer = self._client.request(
                body.method, PREFIX + body.path, content=body.content, headers=list(body.headers)
            )
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400 and answer.json() != {"detail": "Not Found"}:  # no path of ours
            problems = answer.json().get("problems")
            assert problems, answer.text
            assert all(isinstance(each, str) and len(each.splitlines()) == 1 for each in problems), problems
            assert len(answer.content) < 200_000
        return str(answer.status_code), taken
