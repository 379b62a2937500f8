"""Concept spaces on disk: measuring s(c) takes longer than training with some methods, and all can share the result."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from erasure.bench.suite import digest
from erasure.concepts.build import build_concept_space
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig, space_settings
from erasure.config.settle import with_changes
from erasure.judge.album import open_album
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.model import open_model
from erasure.run.state import save_state
from erasure.whole_file import write_json


@dataclass(frozen=True)
class MeasuredSpace:
    """A concept space, with the U-Net rows and seconds that measuring it took.

    ``album``: a state file with the pictures that were judged; what a run takes from it costs nothing again, as in a
    run that measures its space itself.
    """

    space: ConceptSpace
    rows: int
    seconds: float
    album: Path


def concept_space(
    folder: Path, checkpoint: CheckpointInfo, sha256: str, config: EraseConfig, device: str
) -> MeasuredSpace:
    """Return the concept space from ``folder``, or measure it now and keep it there.

    It is always measured with seed 0, whatever the run's own seed.
    """
    path = folder / f"{space_key(config, sha256)}.json"
    album = path.with_suffix(".safetensors")
    if not (path.exists() and album.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        _measure(path, album, checkpoint, config, device)
    # Read back even if new, so that the first cell gets exactly what the others get.
    values = json.loads(path.read_text(encoding="utf-8"))
    return MeasuredSpace(ConceptSpace.from_dict(values["space"]), values["rows"], values["seconds"], album)


def space_key(config: EraseConfig, sha256: str) -> str:
    """Return a key of the checkpoint and of every setting that the space depends on."""
    # The seed is always 0, and a vocabulary file counts by its contents.
    values = {k: v for k, v in space_settings(config.to_dict()).items() if k not in ("seed", "vocabulary_file")}
    file = Path(config.vocabulary_file).read_text(encoding="utf-8") if config.vocabulary_file else ""
    return digest([values, file, sha256])[:16]


def _measure(path: Path, album_file: Path, checkpoint: CheckpointInfo, config: EraseConfig, device: str) -> None:
    began = time.perf_counter()
    config = with_changes(config, seed=0)
    model = open_model(checkpoint, precision=config.precision, resolution=config.resolution, device=device)
    album = open_album(model, config.templates)
    space = build_concept_space(model, config, album)
    save_state(album_file, album.tensors(), album.meta())
    rows = int((model.rows["synonyms"] + model.rows["hostile"]).total)
    seconds = time.perf_counter() - began
    write_json(path, {"space": space.to_dict(), "rows": rows, "seconds": seconds})
