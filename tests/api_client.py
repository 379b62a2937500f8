"""The HTTP API of a host, asked without a server."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.testclient import TestClient

from erasure.api.routes import mount_api
from erasure.host.base import Host
from erasure.jobs.manager import JobManager


def client_of(host: Host, manager: JobManager) -> Iterator[TestClient]:
    """Yield the client; the manager is closed afterwards."""
    app = FastAPI()
    mount_api(app, manager, host)
    yield TestClient(app)
    manager.close()
