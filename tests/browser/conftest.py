"""The stand-alone app with the newest and with the oldest gradio, and a browser to look at it with."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser.oldest import oldest_python
from tests.browser.setup import FLAGS, VOCABULARY

ROOT = Path(__file__).parents[2]
BROWSER = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PATIENCE = 180  # seconds for the app to start


@dataclass(frozen=True)
class App:
    """A running stand-alone app on emoji-SD; ``data`` is where its runs and LoRAs are."""

    url: str
    data: Path
    gradio: str


# With "--dist loadgroup" each version's tests run one after the other in one process, the two versions side by side.
_VERSIONS = [pytest.param(version, marks=pytest.mark.xdist_group(version)) for version in ("newest", "oldest")]


@pytest.fixture(scope="session", params=_VERSIONS)
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    missing = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install -e '.[app,test]'")
    _need_browser()
    python = oldest_python() if request.param == "oldest" else Path(sys.executable)
    data = tmp_path_factory.mktemp(f"data-{request.param}")
    (data / "vocabularies").mkdir()
    (data / "vocabularies" / "few.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = data / "app.log"
    options = ["--data", str(data), "--port", str(port), "--device", "cpu"]
    command = [str(python), "-m", "tests.browser.quick_app", *options]
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}/"
        _wait_for(url, process, log)
        yield App(url, data, request.param)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _need_browser() -> None:
    """Skip where there is no Chromium, which CI accepts too; but whoever names one must have it."""
    if "CHROMIUM" in os.environ:
        assert Path(BROWSER).exists(), f"CHROMIUM is {BROWSER}, which does not exist"
    elif not Path(BROWSER).exists():
        pytest.skip(f"needs Chromium at {BROWSER} (apt-get install chromium), or CHROMIUM to say where it is")


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the app did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[test]'")
    _need_browser()
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def errors() -> list[str]:
    """What went wrong on the pages of a test; a test that expects an error removes it."""
    return []


@pytest.fixture
def context(browser: Any, errors: list[str], tmp_path: Path) -> Iterator[Any]:
    """Yield a browser of its own to every test; it answers all questions with yes. The last state of each page is
    kept as a picture in the test's folder."""
    made = browser.new_context(viewport={"width": 1400, "height": 1000}, locale="en-GB", reduced_motion="reduce")
    made.on("weberror", lambda error: errors.append(str(error.error)))
    made.on("dialog", lambda dialog: dialog.accept())
    yield made
    for number, page in enumerate(made.pages):
        page.screenshot(path=tmp_path / f"page-{number}.png", full_page=True)
    made.close()
    assert errors == [], "errors on the page"
