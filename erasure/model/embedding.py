"""Text embeddings: prompts become the states that cross-attention reads, in batches, each prompt once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erasure.model.models import Models


@dataclass(frozen=True)
class Prompt:
    """A prompt and what the U-Net sees of it, (77, d).

    ``exact`` is False for a mixture or a perturbation: then the text only says what is nearest.
    """

    text: str
    embedding: Tensor
    exact: bool = True


class Embedder:
    """Embeds prompts with the checkpoint's text encoder and remembers them.

    Embeddings are fp32 on the model's device: (77, d), the last layer after the final layer norm, as SD 1.x reads it.
    """

    def __init__(self, models: Models, *, batch: int = 64):
        self._models = models
        self._batch = batch
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(n, 77, d) for n texts."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        for start in range(0, len(missing), self._batch):
            chunk = missing[start : start + self._batch]
            for text, embedding in zip(chunk, self._states(chunk), strict=True):
                self._known[text] = embedding
        return torch.stack([self._known[text] for text in texts])

    def prompt(self, text: str) -> Prompt:
        return Prompt(text, self([text])[0])

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """(n, d): the state at each text's end token, the usual summary of a prompt; not remembered in full."""
        pooled = [self._end_states(texts[start : start + self._batch]) for start in range(0, len(texts), self._batch)]
        return torch.cat(pooled)

    def _ids(self, texts: Sequence[str], padding: str = "max_length") -> Tensor:
        tokens = self._models.tokenizer(
            list(texts),
            padding=padding,
            max_length=self._models.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return tokens.input_ids.to(self._models.device)

    @torch.no_grad()
    def _states(self, texts: Sequence[str]) -> Tensor:
        return self._models.text_encoder(self._ids(texts)).last_hidden_state.float()

    @torch.no_grad()
    def _end_states(self, texts: Sequence[str]) -> Tensor:
        # The text encoder is causal: what follows the end token cannot change its state.
        ids = self._ids(texts, padding="longest")
        states = self._models.text_encoder(ids).last_hidden_state.float()
        # SD 1.x pads with the end token itself, so the first one ends the text.
        end = (ids == self._models.tokenizer.eos_token_id).int().argmax(dim=1)
        return states[torch.arange(len(ids), device=ids.device), end]
