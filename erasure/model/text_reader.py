"""The text encoders of a model, and what the U-Net is told of a prompt that they read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from erasure.families.family import TextEncoder
from erasure.lora.adapter import lora_layers, without_lora
from erasure.model.build_parts import TextModel
from erasure.model.conditioning import Conditioning


@dataclass(frozen=True)
class TextReader:
    """A text encoder with its tokenizer; ``family`` says what is read of it."""

    encoder: TextModel
    tokenizer: CLIPTokenizer
    family: TextEncoder

    def ids(self, texts: Sequence[str], padding: str = "max_length") -> Tensor:
        """Return the tokens of texts (b, tokens), cut off and padded, on the encoder's device."""
        tokens = self.tokenizer(
            list(texts),
            padding=padding,
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        ids: Tensor = tokens.input_ids
        return ids.to(self.encoder.device)

    def ends(self, ids: Tensor) -> Tensor:
        """Return (b,): the place of each text's end token."""
        # Some models pad with the end token itself, so the first one ends the text.
        end: Tensor = (ids == self.tokenizer.eos_token_id).int().argmax(dim=1)
        return end

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the states (b, tokens, d) that cross-attention reads, and the pooled embedding (b, p) if it is used.

        Both are fp32, and differentiable in the embeddings of tokens.
        """
        own, encoder = self.family, self.encoder
        out: Any = encoder(ids, output_hidden_states=not own.final_norm)
        states: Tensor = out.last_hidden_state if own.final_norm else out.hidden_states[-1 - own.skipped]
        if not own.pooled:
            return states.float(), None
        last: Tensor = out.last_hidden_state[torch.arange(len(ids), device=ids.device), self.ends(ids)]
        pooled: Tensor = encoder.text_projection(last)
        return states.float(), pooled.float()


def read_together(readers: Sequence[TextReader], ids: Sequence[Tensor]) -> Conditioning:
    """Return what several text encoders tell of a batch of prompts, each given as its own tokens (b, tokens).

    Their states are side by side: (b, tokens, sum of d). So are their pooled embeddings.
    """
    read = [reader.read(own) for reader, own in zip(readers, ids, strict=True)]
    pooled = [each for _, each in read if each is not None]
    states = torch.cat([each for each, _ in read], dim=-1)
    return Conditioning(states, torch.cat(pooled, dim=-1) if pooled else None)


def read_by_both(readers: Sequence[TextReader], ids: Sequence[Tensor]) -> Conditioning:
    """Return what :func:`read_together` does, and beside it what the frozen text encoders tell if a LoRA is on them."""
    tuned = read_together(readers, ids)
    if not any(lora_layers(reader.encoder) for reader in readers):
        return tuned
    with ExitStack() as frozen:
        for reader in readers:
            frozen.enter_context(without_lora(reader.encoder))
        return tuned.beside(read_together(readers, ids))
