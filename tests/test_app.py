"""The stand-alone app: page and API on one server, behind one login; and its small txt2img."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest

from erasure.cli import main
from erasure.errors import RunError
from erasure.host.local import LocalHost
from erasure.jobs.manager import JobManager
from erasure.ui import web_files

API = "adversarial-erase/v1"


def test_script_and_style_are_found() -> None:
    assert "txt2img_prompt" in web_files.script()
    assert "ae-hidden" in web_files.style()


def test_missing_page_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_files, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "data"))
    with pytest.raises(RunError, match=r"style\.css is missing.*install"):
        web_files.style()
    shared = tmp_path / "data" / "share" / "adversarial-erase"
    shared.mkdir(parents=True)
    (shared / "style.css").write_text("from a wheel")
    assert web_files.style() == "from a wheel"


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--auth", "me"], "USER:PASSWORD"), (["--checkpoint", "nothing.safetensors"], "nothing")]
)
def test_bad_arguments_are_named(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", *arguments]) == 2
    assert named in capsys.readouterr().err


def test_without_gradio_the_command_to_install_it_is_shown(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['gradio'] = None; from erasure.cli import main; "
        f"raise SystemExit(main(['app', '--data', {str(tmp_path)!r}]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pip install 'adversarial-erase[app]'" in ended.stderr


class Visitor:
    """A client with cookies; ``auth`` for HTTP Basic."""

    def __init__(self, url: str):
        self._url = url
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        )

    def get(self, path: str = "", data: dict[str, str] | None = None, headers: Any = ()) -> tuple[int, str]:
        form = urllib.parse.urlencode(data).encode() if data else None
        request = urllib.request.Request(self._url + path, form, dict(headers))
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[str]:
    pytest.importorskip("gradio")
    from erasure.ui.app import serve

    host = LocalHost(tiny_checkpoint, tmp_path_factory.mktemp("app"), "cpu")
    server = serve(host, JobManager(host), port=_free_port(), accounts={"me": "se:cret"})
    yield server.url
    server.close()


def _free_port() -> int:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def test_page_and_api_have_the_same_login(url: str) -> None:
    visitor = Visitor(url)
    assert visitor.get(f"{API}/checkpoints")[0] == 401
    assert "ae_tab" not in visitor.get()[1]
    assert visitor.get("login", {"username": "me", "password": "wrong"})[0] != 200
    assert visitor.get(f"{API}/checkpoints")[0] == 401
    assert visitor.get("login", {"username": "me", "password": "se:cret"})[0] == 200
    status, text = visitor.get(f"{API}/checkpoints")
    assert (status, json.loads(text)["current"]) == (200, "tiny.safetensors")
    basic = {"Authorization": "Basic bWU6c2U6Y3JldA=="}
    assert Visitor(url).get(f"{API}/jobs", headers=basic)[0] == 200
    assert Visitor(url).get(f"{API}/jobs", headers={"Authorization": "Basic bWU6d3Jvbmc="})[0] == 401


def test_the_page_has_tab_txt2img_script_and_style(url: str) -> None:
    visitor = Visitor(url)
    visitor.get("login", {"username": "me", "password": "se:cret"})
    config = visitor.get("config")[1]
    for id in ("ae_tab", "ae_start", "txt2img_prompt", "txt2img_neg_prompt", "txt2img_generate", "txt2img_gallery"):
        assert json.dumps(id) in config
    page = visitor.get()[1] + config
    assert "adversarialErase" in page
    assert "fonts.googleapis.com" not in config


def test_a_port_in_use_is_named(url: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    from erasure.ui.app import serve

    host = LocalHost(tiny_checkpoint, tmp_path, "cpu")
    port = urllib.parse.urlsplit(url).port
    with pytest.raises(RunError, match=f"cannot listen on port {port}"):
        serve(host, JobManager(host, start=False), port=port)


def test_txt2img_draws_and_says_what_is_wrong(tiny_checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    from erasure.ui.txt2img import _generate

    host = LocalHost(tiny_checkpoint, tmp_path, "cpu")
    shown, line = _generate(host, "tiny.safetensors", "a <b> church", "", 3, 2, 5, [])
    assert shown[0][0].size == (64, 64)
    assert "a &lt;b&gt; church, seed 3" in line
    more, _ = _generate(host, None, "church", None, -1, 2, 5, shown)
    assert len(more) == 2
    kept, line = _generate(host, None, "church <lora:<i>:1> <lora:gone:1>", "", 1, 2, 5, more)
    assert kept == more
    assert "there is no LoRA called" in line
    assert "<i>" not in line
