"""Concept spaces on disk: measuring s(c) takes longer than many a method, and all methods can share it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.bench.suite import digest
from erasure.concepts.build import build_concept_space
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.model import open_model
from erasure.whole_file import write_json

SETTINGS = ("erase", "anchor", "synonym", "preserve", "templates", "vocabulary", "neighbours", "similarity",
            "synonym_threshold", "synonym_states", "sampling_guidance", "resolution", "precision")  # fmt: skip


@dataclass(frozen=True)
class MeasuredSpace:
    """``rows``: U-Net rows that measuring took; ``seconds``: how long, on the machine that did it."""

    space: ConceptSpace
    rows: int
    seconds: float


def concept_space(
    folder: Path, checkpoint: CheckpointInfo, sha256: str, config: EraseConfig, device: str
) -> MeasuredSpace:
    """From ``folder``, else measured now and put there; always with seed 0, whatever the run's own seed.

    The key is the checkpoint and every setting that the space depends on.
    """
    path = folder / f"{_key(config, sha256)}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, _measure(checkpoint, config, device))
    values = json.loads(path.read_text(encoding="utf-8"))
    return MeasuredSpace(ConceptSpace.from_dict(values["space"]), values["rows"], values["seconds"])


def _key(config: EraseConfig, sha256: str) -> str:
    values = {name: value for name, value in config.to_dict().items() if name in SETTINGS}
    file = Path(config.vocabulary_file).read_text(encoding="utf-8") if config.vocabulary_file else ""
    return digest([values, file, sha256])[:16]


def _measure(checkpoint: CheckpointInfo, config: EraseConfig, device: str) -> dict[str, Any]:
    began = time.perf_counter()
    config = config.with_changes(seed=0)
    model = open_model(checkpoint, precision=config.precision, resolution=config.resolution, device=device)
    space = build_concept_space(model, config)
    return {"space": space.to_dict(), "rows": model.rows["synonyms"].total, "seconds": time.perf_counter() - began}
