"""What is near a concept, before there is a job: remembered by all that decides it."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

from erasure.config.settings import EraseConfig, space_settings
from erasure.errors import RunError
from erasure.model.ldm_config import yaml_beside

_MOST = 32


class ConceptCache:
    """Concept spaces as ``ConceptSpace.to_dict()`` returns them; of many, the least recently used is forgotten."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what is known for a key of :func:`cache_key`."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, key: str, space: dict[str, Any]) -> None:
        with self._lock:
            self._known[key] = space
            while len(self._known) > _MOST:
                self._known.popitem(last=False)


def cache_key(checkpoint: Path, config: EraseConfig) -> str:
    """What decides a concept space: settings, and files with their times. Raises: RunError if a file is not there."""
    files = [checkpoint, *([Path(config.vocabulary_file)] if config.vocabulary_file else [])]
    beside = yaml_beside(checkpoint)
    if beside.is_file():
        files.append(beside)
    return json.dumps([space_settings(config.to_dict()), [_stamp(file) for file in files]])


def _stamp(file: Path) -> tuple[str, int, int]:
    try:
        state = file.stat()
    except OSError as error:
        raise RunError(f"{file.name} cannot be read: {error.strerror}; check that it is still there") from error
    return str(file.resolve()), state.st_size, state.st_mtime_ns
