"""What lies near a concept, before any job: measured on the device, and remembered."""

from __future__ import annotations

import gc
import json
import sys
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

from erasure.config.settings import EraseConfig, settings
from erasure.errors import EraseError, RunError
from erasure.jobs.problems import describe, traceback_of

_GROUPS = ("concepts", "concept space", "latents")
_ALSO = ("precision", "seed")
_MOST = 32


class ConceptCache:
    """Concept spaces by checkpoint file, its time and the settings that decide them; the oldest is forgotten."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def get(self, key: str) -> dict[str, Any] | None:
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
    """Raises: RunError if the checkpoint is not there."""
    names = [name for name, about in settings().items() if about["group"] in _GROUPS or name in _ALSO]
    values = config.to_dict()
    files = [checkpoint, *([Path(config.vocabulary_file)] if config.vocabulary_file else [])]
    return json.dumps([[values[name] for name in names], [_stamp(file) for file in files]])


def measure_concepts(checkpoint: Path, config: EraseConfig, device: str) -> dict[str, Any]:
    """``ConceptSpace.to_dict()``. The device must be ours. Raises: EraseError."""
    try:
        from erasure.concepts.build import build_concept_space
        from erasure.model.checkpoint import inspect_checkpoint
        from erasure.model.model import open_model

        info = inspect_checkpoint(checkpoint)
        model = open_model(info, precision=config.precision, resolution=config.resolution, device=device)
        return build_concept_space(model, config).to_dict()
    except EraseError:
        raise
    except Exception as error:
        problem = describe(error)
        traceback_of(error)  # frees the models that its frames hold
        raise RunError(problem) from None
    finally:
        model = None  # type: ignore[assignment]
        free_memory()


def free_memory() -> None:
    """Give back what no object holds any more, so that another model has room."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _stamp(file: Path) -> list[Any]:
    try:
        state = file.stat()
    except OSError as error:
        raise RunError(f"{file.name} cannot be read: {error.strerror}; check that it is still there") from error
    return [str(file.resolve()), state.st_size, state.st_mtime_ns]
