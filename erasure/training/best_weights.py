"""The weights of the best look: what a run ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Weights(Protocol):
    """What is trained, as tensors that can be kept and put back."""

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of them."""

    def put_back(self, weights: dict[str, Tensor]) -> None:
        """Undo :meth:`weights`."""


class Worth(NamedTuple):
    """What a look found, the greater the better, the first entry before the others.

    ``recognised`` and ``nearly``: pictures of what is to be erased in which it is recognised, and in which hardly more
    than nothing should be seen, but is; both counted below 0. ``kept``: how strongly the nearest words are shown.
    """

    recognised: int
    nearly: int
    kept: float


class BestWeights:
    """Keeps a copy of the weights of the look that is worth most, of the last one among equals."""

    def __init__(self, weights: Weights):
        self._weights = weights
        self._kept: dict[str, Tensor] | None = None
        self._step = 0
        self._worth = Worth(0, 0, 0.0)

    @property
    def step(self) -> int:
        """The update that they are from; 0 before the first look."""
        return self._step

    def note(self, worth: Worth, step: int) -> None:
        """Keep the weights as they are now, after this update, if no look before was worth more."""
        if self._kept is None or worth >= self._worth:
            self._kept, self._step, self._worth = self._weights.weights(), step, worth

    def correct(self, recognised: int, nearly: int, step: int) -> None:
        """If the best weights are those of this update, take what a second look found instead."""
        if self._step == step:
            self._worth = self._worth._replace(recognised=recognised, nearly=nearly)

    def put_back(self) -> int:
        """Put them back; return the update that they are from, 0 if there was no look."""
        if self._kept is not None:
            self._weights.put_back(self._kept)
        return self._step

    def tensors(self) -> dict[str, Tensor]:
        """The weights."""
        return dict(self._kept or {})

    def meta(self) -> dict[str, Any]:
        """The rest of the state as plain values."""
        return {"best_step": self._step, "best_value": list(self._worth)}

    def load(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Undo :meth:`tensors` and :meth:`meta`."""
        self._kept = {name: tensor.clone() for name, tensor in tensors.items()} or None
        self._step, self._worth = meta["best_step"], Worth(*meta["best_value"])

    def move(self, device: torch.device | str) -> None:
        """Move them."""
        if self._kept is not None:
            self._kept = {name: tensor.to(device) for name, tensor in self._kept.items()}
