"""What a defence is asked, and what it answers: the prompt from which the tuned model still draws the target best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from erasure.concepts.hostile_wordings import HostileWording
from erasure.model.conditioning import Prompt
from erasure.training.latents.source import LatentState


@dataclass(frozen=True)
class Erased:
    """What an update erases, one entry per target of the batch.

    The tuned model is to predict for ``asked`` at the ``states`` what the frozen one does for the ``anchors``, pushed
    away from the ``prompts``; mostly ``asked`` are the prompts themselves. ``beside``: prompts that must stay as they
    are, since the others come close to them.
    """

    prompts: list[Prompt]
    anchors: list[Prompt]
    asked: list[Prompt]
    states: list[LatentState]
    beside: list[Prompt] = field(default_factory=list)


class Defence(Protocol):
    def prepare(self) -> str:
        """Get ready, and return what the user should know; "" if that was done before. Called before :meth:`find`."""

    @property
    def wordings(self) -> Sequence[Sequence[HostileWording]]:
        """Of each target the other wordings that are known after :meth:`prepare`, the likest first; () for none."""

    def find(
        self, targets: Sequence[int], template: str, plain: Erased, wanted: Tensor, generator: Generator
    ) -> Erased:
        """Return what to erase in place of ``plain``, its entry where a target has no hostile prompt.

        ``targets``: their indices; ``wanted`` (b, c, h, w): eps_theta(z_t, c_e) at the states.
        """

    def worst(self, target: int, template: str, count: int) -> list[Prompt]:
        """Return at most ``count`` hostile prompts of a target, the worst first, to look at."""

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs."""

    def meta(self) -> dict[str, Any]:
        """And the rest of it as plain values."""

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Undo :meth:`tensors` and :meth:`meta`."""

    def move(self, device: torch.device | str) -> None:
        """Move what is remembered to where the model is now."""
