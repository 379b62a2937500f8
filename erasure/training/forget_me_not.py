"""Forget-Me-Not (Zhang et al. 2023, arXiv:2303.17591): attention re-steering.

What is trained is where the picture looks: in every cross-attention layer, its attention to the concept's tokens and to
the end of the prompt, which has seen them, is pushed towards zero, on noised pictures of the concept itself. The frozen
model is asked for nothing, the concept turns into nothing that could be named, and nothing is preserved. The published
code also learns tokens for the concept first (textual inversion), from photographs; here its name stands for it. It
takes the norm over all maps at once; here each layer counts the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Generator, Tensor

from erasure.config.template import concept_in
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.cross_attention import WatchedLayer, watched_cross_attention
from erasure.model.tokens import concept_tokens
from erasure.training.latents.source import stack
from erasure.training.trainer import Trainer


class ForgetMeNot(Trainer):
    """Draws concepts and latents, descends, stops and goes on like the trainer; only the loss is another one."""

    def _update(self) -> tuple[tuple[float, float], list[Prompt], list[Prompt]]:
        generator = Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        targets, template = self.draws.targets(generator, self._targets)
        erased = [self.draws.erased(target, template, generator, names_left=False) for target in targets]
        z, t = stack(self.source.draw(erased, generator, tuned=self.config.on_policy))
        with watched_cross_attention(self.model.unet) as layers:
            self.model.eps(z, t, Conditioning.cat([prompt.conditioning for prompt in erased]))
            loss = attention_paid(layers, [self._places(template, prompt.text) for prompt in erased])
        self.descent.step([loss], self._learning_rate(), self.step + 1)
        return (loss.item(), 0.0), erased, []

    def _places(self, template: str, prompt: str) -> tuple[int, ...]:
        """Return the places of the concept's tokens and of the end of the prompt."""
        tokenizer = self.model.tokenizer
        end = len(tokenizer(prompt, truncation=True).input_ids) - 1
        return (*concept_tokens(tokenizer, template, concept_in(template, prompt) or prompt), end)


def attention_paid(layers: Iterable[WatchedLayer], places: Sequence[Sequence[int]]) -> Tensor:
    """Return the mean square of the attention at ``places`` of each row's prompt: of each layer, then of all."""
    losses = []
    for layer in layers:
        rows = zip(layer.map(), places, strict=True)
        losses.append(torch.stack([row[..., list(own)].square().mean() for row, own in rows]).mean())
    return torch.stack(losses).mean()
