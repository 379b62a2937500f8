"""Words that are learnt: vectors in the place of tokens' embeddings, as in textual inversion.

Gal et al. 2023, "An Image is Worth One Word" (arXiv:2208.01618): the text encoder reads them like the embeddings of any
word, and what is learnt is nothing but these vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from erasure.config.template import fill
from erasure.model.conditioning import Conditioning
from erasure.model.parts import ModelParts
from erasure.model.tokens import concept_tokens

# Stands in the place of each vector until it is replaced; any word of one token does.
_PLACEHOLDER = "x"


class LearntWord:
    """``vectors`` (n, d) in place of a concept: a leaf, for an optimizer to train."""

    def __init__(self, parts: ModelParts, vectors: Tensor):
        self._parts = parts
        self.vectors = vectors.detach().float().clone().requires_grad_()

    def __call__(self, templates: Sequence[str]) -> Conditioning:
        """Embed the word in each of the templates as a batch, differentiable in the vectors."""
        tokenizer, encoder = self._parts.tokenizer, self._parts.text_encoder
        stand_in = " ".join([_PLACEHOLDER] * len(self.vectors))
        read: Any = tokenizer(
            [fill(template, stand_in) for template in templates],
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        places = [concept_tokens(tokenizer, template, stand_in) for template in templates]

        def put_in(module: torch.nn.Module, inputs: Any, embedded: Tensor) -> Tensor:
            own = self.vectors.to(embedded)
            rows = [
                torch.cat([row[: place.start], own[: len(place)], row[place.stop :]])
                for row, place in zip(embedded, places, strict=True)
            ]
            return torch.stack(rows)

        handle = encoder.get_input_embeddings().register_forward_hook(put_in)
        try:
            states: Tensor = encoder(read.input_ids.to(self._parts.device)).last_hidden_state.float()
        finally:
            handle.remove()
        return Conditioning(states)


def token_vectors(parts: ModelParts, text: str, count: int) -> Tensor:
    """Return (count, d): the embeddings of a text's tokens, from the beginning again if it has fewer."""
    ids = parts.tokenizer(text, truncation=True).input_ids[1:-1]
    embeddings: Tensor = parts.text_encoder.get_input_embeddings().weight
    return embeddings[[ids[i % len(ids)] for i in range(count)]].detach()
