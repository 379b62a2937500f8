"""Tests against a running web UI, or the source of one; left out unless asked for.

``pytest tests/host --webui-url http://127.0.0.1:7860`` needs a web UI with ``--api``, this extension, and emoji-SD as
its checkpoint (``python -m emoji_sd install --webui DIR``). It leaves small LoRA files called ``host-test-...`` behind.
``pytest tests/host --webui-source DIR`` needs the web UI's files alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.client import Client


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
    """Jobs that a test left behind are given up."""
    client = Client(url)
    current = client.get("/adversarial-erase/v1/checkpoints")["current"]
    if current is None or "emoji-sd" not in current:
        pytest.skip(f"needs emoji-SD as the web UI's checkpoint, not {current}")
    yield client
    client.give_up_jobs()
