"""The sum of what several LoRAs change, layer by layer, exact or at a lower rank, in the numbers of a file."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from erasure.combine.task import CombineTask
from erasure.errors import IneffectiveLora
from erasure.lora.combine import summed_change
from erasure.lora.low_rank import difference_norm, product_norm, truncated

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
_NOTHING = 1e-9  # of the change of the parts: what is left of it, by rounding, where they cancel each other
_EXACT = 1e-12  # of a layer's change: what is left out by rounding alone


@dataclass(frozen=True)
class Layer:
    """One layer of the new file. ``norm``: of the exact sum; ``left_out``: of what compressing left out of it, relative
    to that (Frobenius norms)."""

    name: str
    rank: int
    norm: float
    left_out: float


@dataclass
class Sum:
    """``precision``: of the new file's numbers, ``fp16`` or ``fp32``.

    ``factors``: ``up`` (out, r) and ``down`` (r, in * k * k) of every layer by its key in a file, in these numbers.
    ``alpha``: of all layers, so that the scale of each is ``alpha`` / r. ``ranks``: the largest sum of the files'
    ranks. ``added``: norm of what rounding adds.
    """

    precision: str
    alpha: float
    factors: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    ranks: int = 0
    added: float = 0.0

    @property
    def norm(self) -> float:
        """Frobenius norm of the exact sum over all layers."""
        return _root(layer.norm for layer in self.layers)

    @property
    def rounding(self) -> float:
        """What rounding adds, relative to the exact sum; NaN if the numbers cannot hold a value."""
        return self.added / self.norm

    @property
    def left_out(self) -> float:
        """What compressing left out over all layers, relative to the exact sum."""
        return _root(layer.left_out * layer.norm for layer in self.layers) / self.norm


def summed(task: CombineTask, precision: str) -> Generator[float, None, Sum]:
    """Return the sum; yield the share of the layers that is done. Raises: IneffectiveLora if nothing is left of it."""
    modules, dtype = task.modules, DTYPES[precision]
    # One alpha for all layers, though their ranks may differ: where there are several, diffusers (0.42.1) loses them.
    made = Sum(precision, float(max(map(task.rank_of, modules))))
    apart = added = 0.0
    for number, module in enumerate(modules):
        factors = summed_change(task.loras, module, torch.float64)
        assert factors is not None
        apart += sum(product_norm(*part) ** 2 for part in _parts(task, module))
        made.ranks = max(made.ranks, factors[0].shape[1])
        (up, down), norm, left_out = _cut(*factors, task.rank_of(module))
        up = up * (up.shape[1] / made.alpha)
        rounded = up.to(dtype), down.to(dtype)
        added += (difference_norm(up, down, *rounded) * made.alpha / up.shape[1]) ** 2
        made.factors[module] = rounded
        made.layers.append(Layer(module, up.shape[1], norm, left_out))
        yield (number + 1) / len(modules)
    made.added = math.sqrt(added)
    if made.norm <= _NOTHING * math.sqrt(apart):
        raise IneffectiveLora("together, at these weights, the files change nothing; choose other weights")
    return made


def _cut(up: Tensor, down: Tensor, rank: int) -> tuple[tuple[Tensor, Tensor], float, float]:
    """Return the factors with at most ``rank``; the norm of the change, and the share of it that was left out."""
    if up.shape[1] <= rank:
        return (up, down), product_norm(up, down), 0.0
    cut = truncated(up, down, rank)
    left_out = cut.left_out / cut.norm if cut.left_out > _EXACT * cut.norm else 0.0
    return (cut.up, cut.down), cut.norm, left_out


def _parts(task: CombineTask, module: str) -> Generator[tuple[Tensor, Tensor], None, None]:
    for each in task.loras:
        alone = summed_change([each], module, torch.float64)
        if alone is not None:
            yield alone


def _root(norms: Iterable[float]) -> float:
    return math.sqrt(sum(norm**2 for norm in norms))
