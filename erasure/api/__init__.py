"""The HTTP API, the same in every host: jobs, concepts, presets and the schema of the settings under one prefix."""

from __future__ import annotations

from erasure.api.guard import Guard, make_guard
from erasure.api.routes import PREFIX, mount_api

__all__ = ["PREFIX", "Guard", "make_guard", "mount_api"]
