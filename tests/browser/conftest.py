"""The stand-alone app with the newest and with the oldest gradio, and a browser to look at it with."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser.setup import FLAGS, VOCABULARY

ROOT = Path(__file__).parents[2]
BROWSER = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# gradio as AUTOMATIC1111 has it, with what it needs from its time. torch and the rest are those of this environment.
OLDEST = ("gradio==3.41.2", "pydantic<2", "fastapi<0.95", "httpx<0.28", "numpy<2", "setuptools<81")
PATIENCE = 180  # seconds for the app to start


@dataclass(frozen=True)
class App:
    """A running stand-alone app on emoji-SD; ``data`` is where its runs and LoRAs are."""

    url: str
    data: Path
    gradio: str


@pytest.fixture(scope="session", params=["newest", "oldest"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    missing = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
    if missing or not Path(BROWSER).exists():
        pytest.skip(f"needs {', '.join(missing) or f'Chromium at {BROWSER}'}: pip install -e '.[app,test]'")
    python = Path(sys.executable)
    if request.param == "oldest":
        python = _oldest(tmp_path_factory.mktemp("oldest"))
    data = tmp_path_factory.mktemp(f"data-{request.param}")
    (data / "vocabularies").mkdir()
    (data / "vocabularies" / "few.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = data / "app.log"
    command = [str(python), "-m", "erasure", "app", "--data", str(data), "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    # More threads than free cores make a small model many times slower, and the browser needs one.
    environment["OMP_NUM_THREADS"] = "1"
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


def _oldest(folder: Path) -> Path:
    """Return a Python that has the oldest gradio, and everything else from this one."""
    given = os.environ.get("OLDEST_GRADIO_PYTHON")
    if given:
        return Path(given)
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    import sysconfig

    (Path(where) / "zz_shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *OLDEST]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    if installed.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"gradio 3.41.2 cannot be installed here: {installed.stderr[-300:]}")
    return python


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
    if not Path(BROWSER).exists():
        pytest.skip(f"needs Chromium at {BROWSER} (apt-get install chromium), or CHROMIUM to say where it is")
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
    """A browser of its own for every test; it answers all questions with yes. The last state of each page is kept as a
    picture in the test's folder."""
    made = browser.new_context(viewport={"width": 1400, "height": 1000}, locale="en-GB")
    made.on("weberror", lambda error: errors.append(str(error.error)))
    made.on("dialog", lambda dialog: dialog.accept())
    yield made
    for number, page in enumerate(made.pages):
        page.screenshot(path=tmp_path / f"page-{number}.png", full_page=True)
    made.close()
    assert errors == [], "errors on the page"
