"""A small stand-in for the Hugging Face Hub on the loopback: the calls that huggingface_hub makes for an upload.

Large files go by LFS; newer versions' own transfer (Xet) has to be switched off.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import pytest

TOKEN = "hf_aSecretOfTheTests"


@dataclass
class FakeHub:
    """``files``: content by repository and path; ``refuses``: a path's pattern -> status and message; ``at_call``: is
    called with the path of every call before its answer."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    commits: int = 0
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    at_call: Callable[[str], None] = lambda path: None


@contextmanager
def hub_with_login(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Serve the stand-in as the Hub of this process, with a login, until the block ends."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True, raising=False)
    _new_sessions()
    with fake_hub() as served:
        for module in ("constants", "hf_api", "lfs", "_commit_api"):  # older versions ask these for some calls
            monkeypatch.setattr(f"huggingface_hub.{module}.ENDPOINT", served.url, raising=False)
        yield served
    _new_sessions()


def _new_sessions() -> None:
    """Let huggingface_hub connect anew: a session that was made offline stays offline."""
    for name in ("close_session", "reset_sessions"):  # by version
        getattr(huggingface_hub.utils, name, lambda: None)()


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Serve until the block ends."""
    hub = FakeHub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        body = self._body()
        self.state.calls.append(f"{self.command} {path}")
        self.state.at_call(path)
        refused = next((answer for pattern, answer in self.state.refuses.items() if re.search(pattern, path)), None)
        if refused is not None:
            return self._answer({"error": refused[1]}, refused[0])
        upload = re.fullmatch(r"/objects/(\w+)", path)
        if upload is None and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid username or password."}, 401)
        if upload is not None and len(body) < int(self.headers.get("Content-Length") or 0):
            self.close_connection = True  # whoever sent it gave up
            return None
        if upload is not None:
            assert hashlib.sha256(body).hexdigest() == upload[1]
            self.state.objects[upload[1]] = body
            self.state.puts.append(upload[1])
            return self._answer({})
        return self._api(path, body)

    def _api(self, path: str, body: bytes) -> None:
        hub = self.state
        if path == "/api/whoami-v2":
            return self._answer({"type": "user", "name": "zoe", "orgs": [], "auth": {"type": "access_token"}})
        if path == "/api/repos/create":
            values = json.loads(body)
            repo = f"{values.get('organization') or 'zoe'}/{values['name']}"
            if repo in hub.files:
                there = {"error": "You already created this model repo", "url": f"{hub.url}/{repo}"}
                return self._answer(there, 409)
            hub.files[repo] = {".gitattributes": b"*.safetensors filter=lfs\n"}
            hub.private[repo] = values.get("private", values.get("visibility") == "private")
            return self._answer({"url": f"{hub.url}/{repo}", "name": repo})
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        about = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/main)?", path)
        if about is not None:
            return self._about(about[1])
        if re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            files = [
                {"path": file["path"], "uploadMode": _mode(file["path"]), "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            return self._answer({"files": files})
        if path.endswith(".git/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            return self._answer({"transfer": "basic", "objects": [self._object(one) for one in wanted]})
        commit = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path)
        if commit is not None:
            return self._commit(commit[1], body)
        return self._answer({"error": f"unknown call {path}"}, 404)

    def _about(self, repo: str) -> None:
        hub = self.state
        if repo not in hub.files:
            return self._answer({"error": "Repository not found"}, 404)
        siblings = []
        for name, data in hub.files[repo].items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            sibling: dict[str, Any] = {"rfilename": name, "blobId": blob, "size": len(data)}
            if _mode(name) == "lfs":
                sibling["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        values = {"_id": "1", "id": repo, "modelId": repo, "private": hub.private[repo], "siblings": siblings}
        return self._answer({**values, "sha": "0" * 40, "tags": [], "downloads": 0, "likes": 0})

    def _object(self, wanted: dict[str, Any]) -> dict[str, Any]:
        oid = wanted["oid"]
        if oid in self.state.objects:  # it is there already
            return {"oid": oid, "size": wanted["size"]}
        actions = {"upload": {"href": f"{self.state.url}/objects/{oid}", "header": {}}}
        return {"oid": oid, "size": wanted["size"], "authenticated": True, "actions": actions}

    def _commit(self, repo: str, body: bytes) -> None:
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                self.state.files[repo][value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                self.state.files[repo][value["path"]] = self.state.objects[value["oid"]]
        self.state.commits += 1
        self._answer(
            {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.state.url}/{repo}/commit/{'1' * 40}"}
        )

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, values: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status >= 400:
            self.send_header("X-Error-Message", str(values.get("error", "")))
        self.end_headers()
        self.wfile.write(data)


def _mode(path: str) -> str:
    return "lfs" if path.endswith((".safetensors", ".png", ".jpg")) else "regular"
