"""AdvUnlearn (Zhang et al., NeurIPS 2024, "Defensive Unlearning with Adversarial Training for Robust Concept Erasure").

ESD's goal, but for the prompt near the concept's that brings it back best, which every update looks for anew; what is
to stay is kept on a retain set. The published default trains the text encoder; here it is the U-Net, on a LoRA, and
what is attacked is the embedding that cross-attention reads. The published retain set, prompts of object classes, is
here what is rehearsed: words from all over the vocabulary.
"""

from __future__ import annotations

from dataclasses import replace

from erasure.model.conditioning import Prompt
from erasure.training.adversary.hostile_prompt import hostile_prompts
from erasure.training.latents.source import LatentState
from erasure.training.trainer import Trainer


class AdvUnlearn(Trainer):
    """Trains like the trainer, but on hostile prompts in place of the concepts' own."""

    def _asked(self, erased: list[Prompt], states: list[LatentState]) -> tuple[list[Prompt], list[LatentState]]:
        wanted = self.frozen.eps(erased, states)
        known = [replace(state, eps=eps) for state, eps in zip(states, wanted, strict=True)]
        config = self.config
        hostile = hostile_prompts(
            self.model, erased, known, wanted, config.loss_space, steps=config.search_steps, rate=config.search_rate
        )
        return hostile, known
