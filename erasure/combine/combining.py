"""Combines: writes the one LoRA that does what several do together, exactly or at a lower rank."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from erasure.combine.label import label
from erasure.combine.summing import DTYPES, Layer, Sum, summed
from erasure.combine.task import CombineTask
from erasure.lora.file import write_lora
from erasure.lora.kind import DOWN, UP
from erasure.lora.parts import Combination
from erasure.model.drawing import relayed

_LOUD = 0.01  # the share of the change that rounding to half precision may take
_WORST = 3
_PREFIX = re.compile("^lora_(unet_)?")  # of every layer: of no use to people


@dataclass(frozen=True)
class Combined:
    """A LoRA that was combined from others.

    ``ranks``: the largest sum of the files' ranks in a layer; ``compressed``: whether a lower rank was asked for.
    ``precision``: of its numbers; ``left_out`` and ``rounding``: of all layers together, relative to the exact sum.
    ``notes``: those of the task, and those that came up.
    """

    out: Path
    layers: tuple[Layer, ...]
    ranks: int
    compressed: bool
    precision: str
    left_out: float
    rounding: float
    erases: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max(layer.rank for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; of the file, its name."""
        return {
            "file": self.out.name,
            "erases": list(self.erases),
            "rank": self.rank,
            "precision": self.precision,
            "left_out": self.left_out,
            "rounding": self.rounding,
            "layers": [vars(layer) for layer in self.layers],
            "notes": list(self.notes),
        }

    @property
    def lines(self) -> list[str]:
        """What came of it, in words."""
        said = [self._how()]
        if self.left_out:
            worst = sorted(self.layers, key=lambda layer: -layer.left_out)[:_WORST]
            named = ", ".join(f"{_PREFIX.sub('', layer.name)} {layer.left_out:.2%}" for layer in worst)
            said.append(f"Left out: {self.left_out:.2%} of the change; most in {named}.")
        elif self.compressed:
            said.append("Nothing of the change is left out.")
        added = f"an error of {self.rounding:.2g} of the change" if self.rounding else "nothing"
        said.append(f"Rounding to {self.precision} adds {added}.")
        return said

    def _how(self) -> str:
        layers = f"{len(self.layers)} layers"
        if self.compressed:
            return f"{layers}, ranks of up to {self.ranks} compressed to {self.rank}."
        if self.ranks > self.rank:
            return (
                f"{layers}, the exact sum: ranks of up to {self.ranks}, written without loss as {self.rank}, since the "
                "change of a layer has no larger rank than its shorter side."
            )
        return f"{layers}, the exact sum, of rank {self.rank}."


def combine(task: CombineTask) -> Generator[float, None, Combined]:
    """Write the combined LoRA, and yield the share of the work that is done, from 0 to 1.

    It appears complete or not at all; closing the generator leaves nothing. Raises: IneffectiveLora if the files cancel
    each other; LoraFileError if it cannot be written; OutputExists if another file took its name meanwhile.
    """
    notes = list(task.notes)
    made = yield from summed(task, _precision(task))
    if made.precision == "fp16" and not made.rounding <= _LOUD:  # or NaN: it cannot hold a value
        notes.append("written in fp32: rounding to fp16 would take too much of the change")
        made = yield from relayed(summed(task, "fp32"), lambda share: 1.0)
    combination = Combination(task.parts, task.rank, made.left_out, made.rounding)
    write_lora(
        task.out,
        dict(_state(task, made)),
        family=task.family,
        alpha=made.alpha,
        metadata=label(task, combination, made, datetime.now(timezone.utc)),
        dtype=DTYPES[made.precision],
        overwrite=task.overwrite,
    )
    return Combined(
        out=task.out,
        layers=tuple(made.layers),
        ranks=made.ranks,
        compressed=task.rank > 0,
        precision=made.precision,
        left_out=made.left_out,
        rounding=made.rounding,
        erases=task.joint.erases,
        notes=tuple(notes),
    )


def _precision(task: CombineTask) -> str:
    """Return the numbers of the new file: fp32 if a file has them, else fp16, which has all digits of bf16."""
    wide = (torch.float32, torch.float64)
    return "fp32" if any(tensor.dtype in wide for file, _ in task.loras for tensor in file.state.values()) else "fp16"


def _state(task: CombineTask, made: Sum) -> Generator[tuple[str, torch.Tensor], None, None]:
    """Yield the weights as they lie in a file: those of a convolution with its kernel."""
    for module, (up, down) in made.factors.items():
        shape = task.shape(module)
        yield f"{_path(module, task)}.{DOWN}", down.reshape(-1, *shape)
        yield f"{_path(module, task)}.{UP}", up.reshape(*up.shape, *(1 for _ in shape[1:]))


def _path(module: str, task: CombineTask) -> str:
    """Return a path that has this key in a file; of a text encoder's layer it begins with the name of the part."""
    for encoder in task.family.text_encoders:
        if module.startswith(encoder.lora):
            return f"{encoder.part}.{module.removeprefix(encoder.lora)}"
    return module.removeprefix(task.family.lora.prefix)
