"""Text embeddings: turns prompts into the states that cross-attention reads, each prompt once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from erasure.model.conditioning import Conditioning
from erasure.model.memory import EMBEDDING_CACHE
from erasure.model.parts import ModelParts


class Embedder:
    """Embeds prompts with the checkpoint's text encoder and remembers them.

    Embeddings are fp32 on the model's device: (tokens, d) each, the last layer that is run, after the final layer
    norm. They are remembered on the CPU, in fp32, and take at most ``most`` bytes: the least recently used ones are
    forgotten.
    """

    def __init__(self, parts: ModelParts, *, batch: int = 64, most: int = EMBEDDING_CACHE):
        self._parts = parts
        self._batch = batch
        self._most = most
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0

    @property
    def remembered_bytes(self) -> int:
        """Bytes that the remembered embeddings take."""
        return self._bytes

    def __call__(self, texts: Sequence[str]) -> Conditioning:
        """Embed n texts as a batch of n."""
        # Kept in ``found`` as well, so that more texts than can be remembered are still embedded only once.
        found = {text: self._known[text] for text in texts if text in self._known}
        for text in found:
            self._known.move_to_end(text)
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        for start in range(0, len(missing), self._batch):
            chunk = missing[start : start + self._batch]
            for text, states in zip(chunk, self._states(chunk).cpu(), strict=True):
                # A copy, because a view would keep its whole batch in memory.
                found[text] = states.clone()
                self._remember(text, found[text])
        return Conditioning(torch.stack([found[text] for text in texts]).to(self._parts.device))

    def _remember(self, text: str, states: Tensor) -> None:
        self._known[text] = states
        self._bytes += states.nbytes
        while self._bytes > self._most:
            _, forgotten = self._known.popitem(last=False)
            self._bytes -= forgotten.nbytes

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """Return (n, d): the state at each text's end token, the usual summary of a prompt. It is not remembered."""
        pooled = [self._end_states(texts[start : start + self._batch]) for start in range(0, len(texts), self._batch)]
        return torch.cat(pooled)

    def _ids(self, texts: Sequence[str], padding: str = "max_length") -> Tensor:
        tokens = self._parts.tokenizer(
            list(texts),
            padding=padding,
            max_length=self._parts.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        ids: Tensor = tokens.input_ids.to(self._parts.device)
        return ids

    @torch.no_grad()
    def _states(self, texts: Sequence[str]) -> Tensor:
        states: Tensor = self._parts.text_encoder(self._ids(texts)).last_hidden_state.float()
        return states

    @torch.no_grad()
    def _end_states(self, texts: Sequence[str]) -> Tensor:
        # The text encoder is causal: the padding after the end token cannot change its state.
        ids = self._ids(texts, padding="longest")
        states: Tensor = self._parts.text_encoder(ids).last_hidden_state.float()
        # The first end token ends the text: SD 1.x pads with the same one.
        end = (ids == self._parts.tokenizer.eos_token_id).int().argmax(dim=1)
        return states[torch.arange(len(ids), device=ids.device), end]
