"""Unified Concept Editing (Gandikota et al., WACV 2024): cross-attention's keys and values, edited in closed form.

For every key and value matrix W, Eq. 7 asks for the W' that minimises

    sum over (c, a) in E of || W' c - W a ||^2  +  w * sum over c in P of || W' c - W c ||^2  +  l * || W' - W ||^2

with E the token states of what is erased, each with the state a of its anchor, and P those of what is preserved. Its
minimum is W' = W + W D with

    D = (A - C) C^T M^-1,    M = C C^T + w P P^T + l I

(columns of C, A, P are token states). D is the same for every layer and its rank is at most the number of columns of
C, so that a LoRA holds W D exactly at that rank. At a lower rank an error X is left, by which the sum above grows by
trace(X M X^T); the LoRA for which this is least comes from a truncated SVD of W D S with M = S S^T.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.lora.adapter import DOWN, UP, base_layers, load_lora_state, lora_layers, lora_state
from erasure.model.model import Model
from erasure.training.events import Note, Step

# l, the pull towards the old weights, as in the code that was published with the paper.
PULL = 0.1
# Preserved concepts weigh this much at least, however many there are: likewise.
LEAST_WEIGHT = 0.1


@dataclass(frozen=True)
class Edit:
    """Token states (d, n) in float64: ``erased`` and ``anchors`` column by column, and what is preserved."""

    erased: Tensor
    anchors: Tensor
    preserved: Tensor
    weight: float  # w

    def normal_matrix(self) -> Tensor:
        """M (d, d)."""
        identity = torch.eye(len(self.erased), dtype=self.erased.dtype, device=self.erased.device)
        return self.erased @ self.erased.T + self.weight * self.preserved @ self.preserved.T + PULL * identity

    def change(self) -> Tensor:
        """D (d, d): W' = W + W D for every W."""
        # M is symmetric and, thanks to the pull, positive definite: D M = X is M D^T = X^T.
        right = self.erased @ (self.anchors - self.erased).T
        transposed: Tensor = torch.linalg.solve(self.normal_matrix(), right)
        return transposed.T


def low_rank(change: Tensor, rank: int, metric: Tensor) -> tuple[Tensor, Tensor, float]:
    """``down`` (rank, in), ``up`` (out, rank) with up @ down nearest to ``change`` (out, in), and the relative error.

    An error X is measured by || X S ||, Frobenius, with S (in, in) the Cholesky factor of ``metric``: by what it does
    to vectors whose second moments are the metric. The nearest is the truncated SVD of change @ S (Eckart and Young
    1936), taken back through S. A rank that the matrix lacks is filled with zeros.
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


class UceSolver:
    """Sets the LoRA that is on the model's U-Net in one step, and is iterated over like a trainer."""

    def __init__(self, model: Model, space: ConceptSpace, config: EraseConfig):
        self.config = config
        self.step = 0
        self._seconds = 0.0
        self._model = model
        self._space = space

    def __iter__(self) -> Iterator[Step | Note]:
        if self.step:
            return
        began = time.perf_counter()
        pairs, preserved = self._pairs(), self._preserved()
        edit = self.edit(pairs, preserved)
        error = self._apply(edit)
        self.step, self._seconds = 1, time.perf_counter() - began
        erase_loss, preserve_loss = self._residuals(edit)
        yield Note(
            f"UCE: {edit.erased.shape[1]} token states edited, {edit.preserved.shape[1]} preserved; rank "
            f"{self.config.rank} holds what the edit does to them with a relative error of {error:.2g}"
            + (" (a higher rank holds more of it)" if error > 0.01 else "")
        )
        yield Step(
            step=1,
            steps=1,
            erase_loss=erase_loss,
            preserve_loss=preserve_loss,
            erased=tuple(dict.fromkeys(text for text, _ in pairs)),
            preserved=tuple(preserved),
            learning_rate=0.0,
            rows=int(self._model.rows["training"].total),
            seconds=self._seconds,
        )

    # --- what is edited

    def _pairs(self) -> list[tuple[str, str]]:
        """(erased prompt, anchor prompt) for every name and template."""
        pairs = []
        for target, names in zip(self._space.targets, self._space.erased_by_target(self.config), strict=True):
            for template in self.config.templates:
                anchor = fill(template, target.anchor)
                pairs += [(fill(template, name), anchor) for name in names]
        return pairs

    def _preserved(self) -> list[str]:
        """The empty prompt, what the user names, and (adversary ``whole``) the concept space, in each template."""
        texts = list(self.config.preserve)
        if self.config.adversary == "whole":
            texts += [candidate.text for target in self._space.targets for candidate in target.preserved]
        return ["", *dict.fromkeys(fill(t, text) for text in texts for t in self.config.templates)]

    def edit(self, pairs: Sequence[tuple[str, str]], preserved: Sequence[str]) -> Edit:
        """The token states from a concept's last word on, end and padding included, are moved to the anchor's.

        What comes before the last word knows nothing of it (the text encoder is causal); what comes after knows all.
        Of preserved prompts every state is kept.
        """
        erased, anchors = [], []
        for text, anchor in pairs:
            own, goal = self._from_last_word(text), self._from_last_word(anchor)
            count = min(len(own), len(goal))
            erased.append(own[:count])
            anchors.append(goal[:count])
        kept = self._model.embed(preserved).states.double().flatten(0, 1)
        weight = self.config.preserve_weight * max(LEAST_WEIGHT, 1 / len(preserved))
        return Edit(torch.cat(erased).T, torch.cat(anchors).T, kept.T, weight)

    def _from_last_word(self, text: str) -> Tensor:
        """(n, d): the states from the last token before the end token to the last one of the sequence."""
        ids = self._model.tokenizer(text, truncation=True).input_ids  # with a start and an end token
        return self._model.embed([text]).states[0, len(ids) - 2 :].double()

    # --- the weights

    def _apply(self, edit: Edit) -> float:
        """Put W D into the LoRA of every layer; returns the relative error of all together."""
        unet, change, metric = self._model.unet, edit.change(), edit.normal_matrix()
        root = torch.linalg.cholesky(metric)
        scale = self.config.alpha / self.config.rank
        base, state = base_layers(unet), lora_state(unet)
        lost, whole = 0.0, 0.0
        for name in lora_layers(unet):
            wanted = base[name].weight.double() @ change
            down, up, error = low_rank(wanted / scale, self.config.rank, metric)
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
            old = base[name].weight.double()
            added = scale * state[name + UP].double() @ state[name + DOWN].double()
            erase += float(((old + added) @ edit.erased - old @ edit.anchors).square().mean())
            preserve += float((added @ edit.preserved).square().mean())
        count = len(lora_layers(unet))
        return erase / count, preserve / count

    # --- the state

    def tensors(self) -> dict[str, Tensor]:
        return {f"lora/{name}": weight for name, weight in lora_state(self._model.unet).items()}

    def meta(self) -> dict[str, Any]:
        return {"step": self.step, "seconds": self._seconds}

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        load_lora_state(self._model.unet, {name.partition("/")[2]: weight for name, weight in tensors.items()})
        self.step, self._seconds = meta["step"], meta["seconds"]

    def move(self, device: torch.device | str) -> None:
        """Nothing lies on a device besides the model."""
