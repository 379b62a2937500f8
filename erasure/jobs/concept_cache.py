"""What is near a concept, before there is a job: measured on the device, and remembered."""

from __future__ import annotations

import gc
import json
import sys
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

from erasure.config.settings import EraseConfig, space_settings
from erasure.errors import EraseError, RunError
from erasure.host.base import Host
from erasure.jobs.gate import CONCEPTS, Gate
from erasure.jobs.problems import describe, traceback_of
from erasure.model.ldm_config import yaml_beside
from erasure.model.opening import Opening

_MOST = 32


class Concepts:
    """Concept spaces as ``ConceptSpace.to_dict()`` returns them; of many, the least recently used is forgotten."""

    def __init__(self, host: Host, gate: Gate) -> None:
        self._host = host
        self._gate = gate
        self._lock = Lock()
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def find(self, checkpoint: Path, config: EraseConfig) -> dict[str, Any]:
        """Return the concept space of ``config``, which is measured on the device unless it is known.

        Raises: JobConflict while a job uses the device; EraseError.
        """
        key = cache_key(checkpoint, config)
        known = self._get(key)
        if known is not None:
            return known
        try:
            with self._gate.held(CONCEPTS):
                known = self._get(key)  # another page may have asked the same in the meantime
                if known is None:
                    with self._host.exclusive("concepts to protect"):
                        known = _measured(checkpoint, self._host.opening(checkpoint), config, self._host.device())
                    self._put(key, known)
            return known
        except EraseError:
            raise
        except Exception as error:  # of a library, or of the host
            raise RunError(describe(error)) from error

    def _get(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def _put(self, key: str, space: dict[str, Any]) -> None:
        with self._lock:
            self._known[key] = space
            while len(self._known) > _MOST:
                self._known.popitem(last=False)


def free_memory() -> None:
    """Give back the memory that no object holds any more, so that another model has room."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _measured(checkpoint: Path, opening: Opening, config: EraseConfig, device: str) -> dict[str, Any]:
    """Measure on a device that is ours, and leave no model on it, whatever happens."""
    from erasure.concepts.build import build_concept_space
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.model.model import open_model

    def measure() -> dict[str, Any]:
        info = inspect_checkpoint(checkpoint).opened(opening)
        model = open_model(info, precision=config.precision, resolution=config.resolution, device=device)
        return build_concept_space(model, config).to_dict()

    try:
        return measure()
    except Exception as error:
        traceback_of(error)  # frees the models that its frames hold
        raise
    finally:
        free_memory()


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
