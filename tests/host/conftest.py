"""Tests against a running web UI, or the source of one; left out unless asked for.

``pytest tests/host --webui-url http://127.0.0.1:7860`` needs a web UI with ``--api``, this extension, and emoji-SD
among its checkpoints (``python -m emoji_sd install --webui DIR``): selected in AUTOMATIC1111; Forge cannot draw with it
and needs an SD 1.x of full size selected. On a CPU, put a ``.yaml`` with ``image_size: 8`` beside that one (a copy of
``erasure/data/sd1.yaml``), or the pictures of its run take hours. Small LoRA files ``host-test-...`` are left behind.
``pytest tests/host --webui-source DIR`` needs the web UI's files alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from erasure.host.base import same_title
from tests.host.client import EMOJI, Client

BROWSER = os.environ.get("CHROMIUM", "/usr/bin/chromium")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--webui-url", metavar="URL", help="a running web UI with the extension and emoji-SD")
    parser.addoption("--webui-source", metavar="DIR", type=Path, help="the folder of a web UI's source")


@pytest.fixture(scope="session")
def url(request: pytest.FixtureRequest) -> str:
    given = request.config.getoption("--webui-url", default=None)
    if not given:
        pytest.skip("needs a running web UI: --webui-url URL")
    return str(given).rstrip("/")


@pytest.fixture(scope="session")
def source(request: pytest.FixtureRequest) -> Path:
    given = request.config.getoption("--webui-source", default=None)
    if not given:
        pytest.skip("needs the source of a web UI: --webui-source DIR")
    return Path(given)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """Yield a client, and discard the jobs that a test left behind."""
    there = Client(url).get("/adversarial-erase/v1/checkpoints")
    if not any(same_title(one["title"], EMOJI) for one in there["checkpoints"]):
        pytest.skip(f"needs {EMOJI} among the web UI's checkpoints")
    client = Client(url, there["current"])
    if client.draws_emoji and _is_forge(client):
        pytest.skip("Forge knows no U-Net of emoji-SD's size: select an SD 1.x of full size to draw with")
    yield client
    client.give_up_jobs()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[test]'")
    if not Path(BROWSER).exists():
        pytest.skip(f"needs Chromium at {BROWSER}, or CHROMIUM to say where it is")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def _is_forge(client: Client) -> bool:
    return "forge_additional_modules" in client.get("/sdapi/v1/options")
