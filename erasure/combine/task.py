"""What is to be combined, checked before any work: the LoRAs, the place of the new one, and what is joined of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from erasure.combine.joint import Joint, Stated, joint_config
from erasure.config.settings import LayerChoice
from erasure.errors import ConfigError, LoraFileError, shown
from erasure.families.family import Family, PredictionType
from erasure.file_hashes import sha256_of_files
from erasure.lora.combine import check_one_model
from erasure.lora.file import LoraFile, read_lora
from erasure.lora.kind import DOWN
from erasure.lora.layer_choice import smallest_choice
from erasure.lora.metadata import CONFIG_KEY, WEIGHTS_KEY, json_object
from erasure.lora.parts import MOST_PARTS, Part, erased_by, stated_combination
from erasure.lora.weight import check_weights
from erasure.model.prediction import told_by_metadata
from erasure.run.output import check_output

MOST_RANK = 1280  # the shorter side of the largest layers of any family at full size: no change has a larger rank
_BASE = ("ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash", WEIGHTS_KEY)


@dataclass(frozen=True)
class CombineTask:
    """LoRA files that are to become one.

    ``loras``: each with its weight, as in ``<lora:name:weight>``; ``parts``: what is said of them. ``rank``: that every
    layer is compressed to, 0 for the exact sum. ``joint``: their settings together; ``named``: whether whoever asks
    named concepts besides. ``notes``: what people should know, one line each.
    """

    loras: tuple[tuple[LoraFile, float], ...]
    parts: tuple[Part, ...]
    out: Path
    rank: int
    overwrite: bool
    joint: Joint
    named: bool = False
    notes: tuple[str, ...] = ()

    @property
    def family(self) -> Family:
        return self.loras[0][0].family

    @property
    def prediction(self) -> PredictionType:
        """What the files' bases predict, as they say: the velocity if all of them do."""
        told = {told_by_metadata(file.metadata) for file, _ in self.loras}
        return "v_prediction" if told == {"v_prediction"} else "epsilon"

    @property
    def modules(self) -> tuple[str, ...]:
        """Keys of all layers that one of the files changes, in the order of the files."""
        return tuple(dict.fromkeys(module for file, _ in self.loras for module in file.modules))

    def shape(self, module: str) -> tuple[int, ...]:
        """Return the shape of what a layer reads: (in,), or of a convolution (in, k, k)."""
        shapes = [tuple(down.shape[1:]) for down, _ in self._factors(module)]
        return max(shapes, key=lambda shape: len(shape))

    def _factors(self, module: str) -> Iterator[tuple[Tensor, Tensor]]:
        for file, _ in self.loras:
            if f"{module}.{DOWN}" in file.state:
                down, up, _ = file.weights(module)
                yield down, up

    def ranks(self, module: str) -> int:
        """Return the sum of the files' ranks in a layer."""
        return sum(down.shape[0] for down, _ in self._factors(module))

    def rank_of(self, module: str) -> int:
        """Return the rank of a layer in the new file: none is larger than the layer's own, its shorter side."""
        down, up = next(iter(self._factors(module)))
        own = min(up.shape[0], math.prod(down.shape[1:]))
        return min(self.ranks(module), self.rank or own, own)

    @property
    def layers(self) -> LayerChoice:
        """The smallest choice of the U-Net's layers that has all of these that one of the files changes."""
        prefix = self.family.lora.prefix
        return smallest_choice(key.removeprefix(prefix) for key in self.modules if key.startswith(prefix))

    @property
    def changes_text(self) -> bool:
        """Whether one of the files changes a text encoder."""
        return any(not key.startswith(self.family.lora.prefix) for key in self.modules)

    @property
    def base(self) -> dict[str, str]:
        """What all files say alike of the checkpoint that they were made from, by their metadata's keys; {} if they
        differ."""
        said = [{key: file.metadata[key] for key in _BASE if key in file.metadata} for file, _ in self.loras]
        return said[0] if all(each == said[0] for each in said) else {}


def combine_task(
    loras: Sequence[tuple[Path, Any]],
    out: Path,
    *,
    rank: Any = 0,
    overwrite: bool = False,
    erase: Sequence[str] = (),
    preserve: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
) -> CombineTask:
    """Read what is to be combined: all of the files; nothing is written.

    ``erase``, ``preserve`` and ``given``: see :func:`erasure.combine.joint.joint_config`. Raises: ConfigError for
    weights, ranks and settings that cannot be used, or a file given twice; OutputExists, OutputRefused; LoraFileError
    if a file is no LoRA that can be summed, or for another model than the others.
    """
    check_weights(loras)
    problems = []
    if len(loras) > MOST_PARTS:
        problems.append(f"lora: {len(loras)} files are too many; combine at most {MOST_PARTS} at a time")
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 <= rank <= MOST_RANK:
        problems.append(f"rank: {shown(rank)} is not a whole number from 1 to {MOST_RANK}, or 0 for the exact sum")
    if problems:
        raise ConfigError(problems)
    check_output(out, overwrite=overwrite, read=[path for path, _ in loras])
    files = tuple((read_lora(path), float(weight)) for path, weight in loras)
    check_one_model(file for file, _ in files)
    for file, _ in files:
        _check_finite(file)
    parts = tuple(
        Part(
            file.path.stem,
            sha256_of_files([file.path]),
            weight,
            erased_by(json_object(file.metadata, CONFIG_KEY)),
        )
        for file, weight in files
    )
    joint = joint_config([Stated(file.path.stem, file.metadata, w) for file, w in files], erase, preserve, given)
    return CombineTask(
        files, parts, out, rank, overwrite, joint, named=bool(erase), notes=(*_notes(files, parts), *joint.notes)
    )


def _check_finite(file: LoraFile) -> None:
    """Raises: LoraFileError."""
    for module in file.modules:
        down, up, scale = file.weights(module)
        if not (bool(down.isfinite().all()) and bool(up.isfinite().all()) and math.isfinite(scale)):
            raise LoraFileError(f"{file.path.name}: {module} has values that are not finite (NaN or infinite)")


def _notes(files: Sequence[tuple[LoraFile, float]], parts: Sequence[Part]) -> Iterator[str]:
    first: dict[str, Part] = {}
    for part in parts:
        same = first.setdefault(part.sha256, part)
        if same is not part:
            yield f"{same.name} and {part.name} are the same file: it counts twice"
    for file, _ in files:
        before = stated_combination(file.metadata)
        for part in before.parts if before is not None else ():
            if part.sha256 in first:
                yield f"{file.path.stem} was combined from {first[part.sha256].name}, which so counts twice"
    bases = {file.metadata.get("ss_new_sd_model_hash"): file.metadata.get("ss_sd_model_name") for file, _ in files}
    bases.pop(None, None)
    if len(bases) > 1:
        names = ", ".join(str(name)[:100] for name in bases.values())
        yield f"the files were made from different bases ({names}): on each, what was made from another may hurt more"
