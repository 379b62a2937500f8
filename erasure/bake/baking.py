"""Bakes: writes the checkpoint with the change of the LoRAs in its weights, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from erasure.bake.change import LayerChange, Rounding, computed_in
from erasure.bake.contents import opened
from erasure.bake.label import Label
from erasure.bake.rewrite import NO_HASH, Rewritten, rewrite
from erasure.bake.task import BakeTask
from erasure.errors import OutputExists, RunError
from erasure.file_hashes import sha256_of_files
from erasure.lora.combine import summed_change
from erasure.lora.file import module_key
from erasure.model.checkpoint import OriginalFile, sha256
from erasure.model.model_layers import LayerPlace
from erasure.model.weights_file import WeightsFile
from erasure.safetensors_file import read_header
from erasure.verdict.measurement import base_note
from erasure.whole_file import whole_file, whole_folder

_LOUD = 0.1  # the share of the change that rounding may take before it is worth a note
_T = TypeVar("_T")


@dataclass(frozen=True)
class Baked:
    """A checkpoint that was baked.

    ``layers``: how many were changed, ``averaged``: how many of them in averaged weights as well, ``text_layers``: how
    many of them are of text encoders. ``dtypes``: number types of what was changed; ``rounding``: norm of what rounding
    to them added, relative to that of the change. ``notes``: those of the task, and those that came up.
    """

    out: Path
    layers: int
    averaged: int
    text_layers: int
    dtypes: tuple[str, ...]
    rounding: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; of the file, its name."""
        return {
            "file": self.out.name,
            "layers": self.layers,
            "averaged": self.averaged,
            "text_layers": self.text_layers,
            "dtypes": list(self.dtypes),
            "rounding": self.rounding,
        }

    @property
    def lines(self) -> list[str]:
        """What came of it, in words."""
        both = " (and their averaged weights)" if self.averaged else ""
        if 0 < self.averaged < self.layers:
            both = f" ({self.averaged} of them in averaged weights as well)"
        text = f", {self.text_layers} of them in text encoders" if self.text_layers else ""
        return [
            f"{self.layers} layers changed{both}{text}; all else is as it was, byte for byte.",
            f"Rounded once to {' and '.join(self.dtypes)}, which adds an error of {self.rounding:.2g} of the change.",
        ]


def bake(task: BakeTask) -> Generator[float, None, Baked]:
    """Write the baked checkpoint, and yield the share of it that is written, from 0 to 1.

    It appears complete or not at all; closing the generator leaves nothing. Raises: BrokenCheckpoint for values that
    are not finite; LoraFileError if its number type cannot hold a sum, or a LoRA was changed meanwhile; OutputExists if
    another file took its name meanwhile; RunError if it cannot be written.
    """
    rounding = Rounding()
    info = task.checkpoint
    label = Label(
        name=task.out.stem if task.folder is None else task.out.name,
        base=info.name,
        family=info.family,
        prediction=info.prediction_type,
        layout=info.layout,
        pixels=info.size.pixels,
        loras=[(file, weight, sha256_of_files([file.path])) for file, weight in task.loras],
        made=datetime.now(timezone.utc),
    )
    try:
        writing = _bake_file if task.folder is None else _bake_folder
        base = yield from writing(task, label, rounding)
    except FileExistsError as error:
        raise OutputExists(f"another program took the name {task.out} meanwhile; choose another name") from error
    except OSError as error:
        raise RunError(
            f"{task.out} could not be written: {error.strerror or error}; nothing was left behind. Free disk space, or "
            "choose another place"
        ) from error
    layers = {place.layer for place in task.places}
    texts = tuple(f"{encoder.part}." for encoder in info.family.text_encoders)
    averaged = {place.layer for place in task.places if place.averaged}
    dtypes = sorted({place.dtype for place in task.places})
    notes = [*task.notes, *(note for file, _ in task.loras if (note := base_note(file, info, lambda _: base)))]
    if rounding.share > _LOUD:
        notes.append(
            f"rounding to {' and '.join(dtypes)} takes a large part of the change ({rounding.share:.0%} of its norm): "
            "bake into a version of the checkpoint with more bits, or use the LoRA as it is"
        )
    in_texts = sum(layer.startswith(texts) for layer in layers)
    return Baked(task.out, len(layers), len(averaged), in_texts, tuple(dtypes), rounding.share, tuple(notes))


def _bake_file(task: BakeTask, label: Label, rounding: Rounding) -> Generator[float, None, str]:
    """Write the file and what belongs to it. Return the sha256 of the base."""
    assert isinstance(task.checkpoint.contents, OriginalFile)
    weights = task.checkpoint.contents.weights
    known = NO_HASH if weights.pickled is None else sha256(weights.path)
    # What belongs to it takes its place after the checkpoint has: a yaml alone would be of no use.
    with task.companions.copied(), whole_file(task.out) as temporary:
        writing = _write(task, weights, temporary, label, rounding, known)
        base = yield from _shares(writing, _bytes_of(weights.path))
        if task.out.exists() and not task.overwrite:
            raise FileExistsError(task.out)
    return base


def _bake_folder(task: BakeTask, label: Label, rounding: Rounding) -> Generator[float, None, str]:
    """Write the folder. Return the sha256 of the base."""
    assert task.folder is not None
    base = sha256(task.checkpoint.path)
    with whole_folder(task.out) as temporary:
        yield from _shares(
            _write_folder(task, temporary, label, rounding, base),
            sum(_bytes_of(source) for source, _ in task.folder.every),
        )
    return base


def _write_folder(
    task: BakeTask, target: Path, label: Label, rounding: Rounding, base: str
) -> Generator[int, None, None]:
    """Yield the bytes written so far."""
    assert task.folder is not None
    done = 0
    for source, inside in task.folder.copied:
        place = target / inside
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        done += _bytes_of(source)
        yield done
    for weights, inside in task.folder.baked:
        place = target / inside
        place.parent.mkdir(parents=True, exist_ok=True)
        for written in _write(task, weights, place, label, rounding, base):
            yield done + written
        done += _bytes_of(weights.path)


def _write(
    task: BakeTask, weights: WeightsFile, out: Path, label: Label, rounding: Rounding, base: str
) -> Generator[int, None, str]:
    """Write one file of weights, and yield the bytes written so far. Return the sha256 of the base.

    ``base``: it, or :data:`NO_HASH` if it is that of the file to be read here.
    """
    known = base != NO_HASH
    with opened(weights) as contents:
        changes = [
            Rewritten(place.name, place.rows, partial(_change, task, place, rounding))
            for place in task.places
            if place.file.path == weights.path
        ]

        def metadata(data: str, read: str) -> dict[str, str]:
            return label.metadata(contents.metadata, data, base if known else read)

        _, read = yield from rewrite(contents, out, changes, metadata)
        expected = list(contents.entries)
    if list(read_header(out).shapes) != expected:  # what was written can be read
        raise OSError(f"{out.name} was not written as it should be")
    return base if known else read


def _change(task: BakeTask, place: LayerPlace, rounding: Rounding) -> LayerChange:
    dtype = place.dtype
    module = module_key(place.layer, task.checkpoint.family)
    factors = summed_change(task.loras, module, computed_in(dtype))
    assert factors is not None
    return LayerChange(place.name, dtype, *factors, rounding)


def _shares(writing: Generator[int, None, _T], size: int) -> Generator[float, None, _T]:
    try:
        while True:
            yield min(1.0, next(writing) / max(size, 1))
    except StopIteration as end:
        value: _T = end.value
        return value
    finally:
        writing.close()


def _bytes_of(path: Path) -> int:
    return path.stat().st_size
