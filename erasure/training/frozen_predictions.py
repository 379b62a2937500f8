"""What the frozen model predicts, which updates train towards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from erasure.config.settings import EraseConfig
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.training.latents.source import LatentState, stack
from erasure.training.losses import erase_goal


class FrozenPredictions:
    """Asks the frozen model for all that is not known yet in one call."""

    def __init__(self, model: Model, config: EraseConfig):
        self._model, self._config = model, config

    @torch.no_grad()
    def eps(self, prompts: Sequence[Prompt], states: Sequence[LatentState]) -> Tensor:
        """eps_theta(z_t, c) (b, c, h, w): those that a state carries, and one batched call for the others."""
        known = [s.eps if prompt.exact else None for prompt, s in zip(prompts, states, strict=True)]
        missing = [i for i, eps in enumerate(known) if eps is None]
        if missing:
            z, t = stack([states[i] for i in missing])
            with self._model.frozen():
                found = self._model.eps(z, t, Conditioning.cat([prompts[i].conditioning for i in missing]))
            for i, eps in zip(missing, found, strict=True):
                known[i] = eps
        return torch.stack([eps for eps in known if eps is not None])

    def goal(
        self,
        erased: list[Prompt],
        anchors: list[Prompt],
        erase_states: list[LatentState],
        preserved: list[Prompt],
        preserve_states: list[LatentState],
        *,
        targets: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what an update trains towards, eps(c_e), and eps(c_a), each (b, c, h, w).

        First: Eq. 3 with negative guidance for the erased ones, then what is to stay for the preserved. Second: of the
        erased prompts, zeros if neither guidance needs it nor the caller (``targets``). Third: of their anchors.
        """
        guidance, count = self._config.guidance, len(erased)
        own = [LatentState(s.z, s.t, s.eps_null if anchor.text == "" else None)
               for s, anchor in zip(erase_states, anchors, strict=True)]  # fmt: skip
        prompts, at = [*anchors], own
        if guidance or targets:
            prompts, at = prompts + erased, at + erase_states
        if guidance and self._config.guidance_from == "null" and any(anchor.text for anchor in anchors):
            prompts = prompts + [self._model.prompt("")] * count
            at = at + [LatentState(s.z, s.t, s.eps_null) for s in erase_states]
        eps = self.eps(prompts + preserved, at + preserve_states)
        eps_anchor, *others = eps[: len(prompts)].split(count)
        eps_target, *eps_from = others or [torch.zeros_like(eps_anchor)]
        goal = erase_goal(eps_anchor, eps_target, guidance, *eps_from)
        return torch.cat([goal, eps[len(prompts) :]]), eps_target, eps_anchor
