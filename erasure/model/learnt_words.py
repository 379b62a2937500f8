"""Words that are learnt: vectors in the place of tokens' embeddings, as in textual inversion.

Gal et al. 2023, "An Image is Worth One Word" (arXiv:2208.01618): the text encoder reads them like the embeddings of any
word, and what is learnt is nothing but these vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor

from erasure.config.template import fill
from erasure.model.conditioning import Conditioning
from erasure.model.parts import ModelParts
from erasure.model.text_reader import TextReader, read_by_both
from erasure.model.tokens import concept_tokens

# Stands in the place of each vector until it is replaced; any word of one token does.
_PLACEHOLDER = "x"


class LearntWord:
    """``vectors`` (n, d) in place of a concept: a leaf, for an optimizer to train.

    Of several text encoders, each reads its own part of a vector: d is the sum of their widths.
    """

    def __init__(self, parts: ModelParts, vectors: Tensor):
        self._parts = parts
        self.vectors = vectors.detach().float().clone().requires_grad_()

    def __call__(self, templates: Sequence[str]) -> Conditioning:
        """Embed the word in each of the templates as a batch, differentiable in the vectors."""
        stand_in = " ".join([_PLACEHOLDER] * len(self.vectors))
        prompts = [fill(template, stand_in) for template in templates]
        places = [concept_tokens(self._parts.tokenizer, template, stand_in) for template in templates]
        readers = self._parts.texts
        widths = [_embeddings(reader).shape[1] for reader in readers]
        with ExitStack() as hooks:
            for reader, own in zip(readers, self.vectors.split(widths, dim=1), strict=True):
                hook = partial(_put_in, own, places)
                handle = reader.encoder.get_input_embeddings().register_forward_hook(hook)
                hooks.callback(handle.remove)
            return read_by_both(readers, [reader.ids(prompts) for reader in readers])


def _put_in(own: Tensor, places: Sequence[range], module: torch.nn.Module, inputs: Any, embedded: Tensor) -> Tensor:
    """Return the embeddings of tokens (b, tokens, d) with the vectors (n, d) in the places of each row."""
    vectors = own.to(embedded)
    rows = [
        torch.cat([row[: place.start], vectors[: len(place)], row[place.stop :]])
        for row, place in zip(embedded, places, strict=True)
    ]
    return torch.stack(rows)


def _embeddings(reader: TextReader) -> Tensor:
    weight: Tensor = reader.encoder.get_input_embeddings().weight
    return weight


def token_vectors(parts: ModelParts, text: str, count: int) -> Tensor:
    """Return (count, d): the embeddings of a text's tokens, from the beginning again if it has fewer."""
    ids = parts.tokenizer(text, truncation=True).input_ids[1:-1]
    chosen = [ids[i % len(ids)] for i in range(count)]
    return torch.cat([_embeddings(reader)[chosen].detach() for reader in parts.texts], dim=1)
