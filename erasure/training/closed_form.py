"""Methods that find the weights of cross-attention in closed form, and need no training.

What they have in common: every matrix W of keys or values becomes W' = W + W D. Columns of C are token states of what
is erased, those of A the states that they should be read as, and D is the solution of a least squares problem. Its
rank is at most the number of columns of C, so that a LoRA holds W D exactly at that rank. At a lower rank an error X is
left, by which the sum of squares grows by trace(X M X^T), with M the method's metric; the LoRA for which this is least
comes from a truncated SVD of W D S with M = S S^T. Each method is a function that returns an :class:`Edit`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.lora.adapter import DOWN, UP, load_lora_state, lora_layers, lora_state
from erasure.lora.layer_choice import base_layers
from erasure.model.model import Model
from erasure.training.events import Note, Step


@dataclass(frozen=True)
class Edit:
    """What a closed form found. Matrices are float64, on the model's device if that has such numbers, else on the CPU.

    ``changes``: D (d, d) by layer. ``metric``: M (d, d). ``erased`` C (d, n), ``anchors`` A (d, n) and ``preserved``
    (d, m): token states, by which it is told how well the LoRA does. ``erased_prompts`` and ``preserved_prompts``:
    where they are from. ``remark``: what else is worth saying, as the end of a sentence.
    """

    name: str
    changes: Mapping[str, Tensor]
    metric: Tensor
    erased: Tensor
    anchors: Tensor
    preserved: Tensor
    erased_prompts: tuple[str, ...]
    preserved_prompts: tuple[str, ...]
    remark: str = ""


def exact(tensor: Tensor) -> Tensor:
    """Return a tensor in float64: where it is, or on the CPU if its device has no such numbers (MPS, DirectML)."""
    return tensor.double() if _has_float64(tensor.device) else tensor.cpu().double()


@cache
def _has_float64(device: torch.device) -> bool:
    try:
        torch.zeros(1, device=device).double()
    except (RuntimeError, TypeError):
        return False
    return True


FindEdit = Callable[[Model, ConceptSpace, EraseConfig], Edit]


@dataclass(frozen=True)
class Pair:
    """A name of a target and its anchor, in one template."""

    template: str
    name: str
    anchor: str

    @property
    def erased(self) -> str:
        """The prompt with the name."""
        return fill(self.template, self.name)

    @property
    def goal(self) -> str:
        """The prompt that it turns into."""
        return fill(self.template, self.anchor)


def pairs(space: ConceptSpace, config: EraseConfig) -> list[Pair]:
    """Return a pair for every name of every target in every template."""
    names = zip(space.targets, space.erased_by_target(config), strict=True)
    return [
        Pair(template, name, target.anchor)
        for target, own in names
        for template in config.templates
        for name in own
    ]  # fmt: skip


def words_to_preserve(space: ConceptSpace, config: EraseConfig) -> list[str]:
    """Return what the user names, and with adversary ``whole`` the concept space."""
    words = list(config.preserve)
    if config.adversary == "whole":
        words += [candidate.text for target in space.targets for candidate in target.preserved]
    return list(dict.fromkeys(words))


def least_squares(inputs: Tensor, moves: Tensor, normal: Tensor) -> Tensor:
    """Return the D (a, d) that minimises || D X - Y ||^2 + trace(D (N - X X^T) D^T), which is Y X^T N^-1.

    ``inputs``: X (d, n); ``moves``: Y (a, n); ``normal``: N (d, d), symmetric and positive definite.
    """
    transposed: Tensor = torch.linalg.solve(normal, inputs @ moves.T)
    return transposed.T


def low_rank(change: Tensor, rank: int, metric: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return ``down`` (rank, in), ``up`` (out, rank) with up @ down nearest to ``change`` (out, in), and the error.

    An error X is measured by || X S ||, Frobenius, with S (in, in) the Cholesky factor of ``metric``: by what it does
    to vectors whose second moments are the metric; it is told relative to that of ``change``. The nearest is the
    truncated SVD of change @ S (Eckart and Young 1936), taken back through S. A rank that the matrix lacks is filled
    with zeros.
    """
    s_factor = torch.linalg.cholesky(metric)
    u, sizes, vh = torch.linalg.svd(change @ s_factor, full_matrices=False)
    kept = min(rank, len(sizes))
    root = sizes[:kept].sqrt()
    right = torch.linalg.solve_triangular(s_factor, vh[:kept], upper=False, left=False)  # vh S^-1
    down, up = change.new_zeros(rank, change.shape[1]), change.new_zeros(change.shape[0], rank)
    down[:kept], up[:, :kept] = root[:, None] * right, u[:, :kept] * root
    error = sizes[kept:].norm() / sizes.norm().clamp_min(torch.finfo(sizes.dtype).tiny)
    return down, up, float(error)


class ClosedForm:
    """Sets the LoRA that is on the model's U-Net in one step, and is iterated over like a trainer."""

    def __init__(self, model: Model, space: ConceptSpace, config: EraseConfig, find: FindEdit):
        self.config = config
        self.step = 0
        self._seconds = 0.0
        self._model = model
        self._space = space
        self._find = find

    def __iter__(self) -> Iterator[Step | Note]:
        if self.step:
            return
        began = time.perf_counter()
        edit = self._find(self._model, self._space, self.config)
        error = self._apply(edit)
        self.step, self._seconds = 1, time.perf_counter() - began
        erase_loss, preserve_loss = self._residuals(edit)
        yield Note(
            f"{edit.name}: {edit.erased.shape[1]} token states edited, {edit.preserved.shape[1]} preserved"
            f"{edit.remark}; rank {self.config.rank} holds what the edit does to them with a relative error of "
            f"{error:.2g}" + (" (a higher rank holds more of it)" if error > 0.01 else "")
        )
        yield Step(
            step=1,
            steps=1,
            erase_loss=erase_loss,
            preserve_loss=preserve_loss,
            erased=edit.erased_prompts,
            preserved=edit.preserved_prompts,
            learning_rate=0.0,
            rows=int(self._model.rows["training"].total),
            seconds=self._seconds,
        )

    # --- the weights

    def _apply(self, edit: Edit) -> float:
        """Put W D into the LoRA of every layer; returns the relative error of all together."""
        unet, root = self._model.unet, torch.linalg.cholesky(edit.metric)
        scale = self.config.alpha / self.config.rank
        base, state = base_layers(unet), lora_state(unet)
        lost, whole = 0.0, 0.0
        for name in lora_layers(unet):
            wanted = exact(base[name].weight) @ edit.changes[name]
            down, up, error = low_rank(wanted / scale, self.config.rank, edit.metric)
            state[name + DOWN], state[name + UP] = down.float(), up.float()
            size = float((wanted @ root).norm())
            lost, whole = lost + (error * size) ** 2, whole + size**2
        load_lora_state(unet, state)
        return (lost / whole) ** 0.5 if whole else 0.0

    def _residuals(self, edit: Edit) -> tuple[float, float]:
        """Mean of || W' c - v ||^2 over layers and columns: for erased and preserved states, with the LoRA's W'."""
        unet = self._model.unet
        base, state, scale = base_layers(unet), lora_state(unet), self.config.alpha / self.config.rank
        erase = preserve = 0.0
        for name in lora_layers(unet):
            old = exact(base[name].weight)
            added = scale * exact(state[name + UP]) @ exact(state[name + DOWN])
            erase += float(((old + added) @ edit.erased - old @ edit.anchors).square().mean())
            if edit.preserved.shape[1]:
                preserve += float((added @ edit.preserved).square().mean())
        count = len(lora_layers(unet))
        return erase / count, preserve / count

    # --- the state

    def tensors(self) -> dict[str, Tensor]:
        """The LoRA's weights."""
        return {f"lora/{name}": weight for name, weight in lora_state(self._model.unet).items()}

    def meta(self) -> dict[str, Any]:
        """Whether it is done, and how long it took."""
        return {"step": self.step, "seconds": self._seconds}

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Undo :meth:`tensors` and :meth:`meta`."""
        load_lora_state(self._model.unet, {name.partition("/")[2]: weight for name, weight in tensors.items()})
        self.step, self._seconds = meta["step"], meta["seconds"]

    def move(self, device: torch.device | str) -> None:
        """Nothing lies on a device besides the model."""
