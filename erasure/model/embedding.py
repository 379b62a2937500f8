"""Text embeddings: turns prompts into what the U-Net is told of them, each prompt once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from erasure.lora.adapter import ADAPTER, layer_weights, lora_layers, without_lora
from erasure.model.conditioning import Conditioning
from erasure.model.memory import EMBEDDING_CACHE
from erasure.model.parts import ModelParts
from erasure.model.text_reader import read_by_both


class Embedder:
    """Embeds prompts with the checkpoint's text encoders and remembers them.

    Embeddings are fp32 on the model's device: states (tokens, d) each, and a pooled embedding (p,) where the family's
    U-Net takes one; which layers they are of, the family says. They are remembered on the CPU, in fp32, and take at
    most ``most`` bytes: the least recently used ones are forgotten, and all once a LoRA on the text encoders changes.

    The empty prompt is what guidance leads away from. In families with ``zero_empty`` it is all zeros, as SDXL was
    trained, as AUTOMATIC1111 makes it of an empty negative prompt (``force_zero_embeddings`` in its
    ``modules/sd_models_xl.py``), and diffusers of none (``force_zeros_for_empty_prompt``). So it is here wherever a
    prompt is empty, as a goal of erasing too. AUTOMATIC1111 encodes an empty prompt that is not negative.
    """

    def __init__(self, parts: ModelParts, *, batch: int = 64, most: int = EMBEDDING_CACHE):
        self._parts = parts
        self._batch = batch
        self._most = most
        self._known: OrderedDict[str, Conditioning] = OrderedDict()
        self._bytes = 0
        self._lora: list[tuple[nn.Parameter, int, float, bool]] = []

    @property
    def remembered_bytes(self) -> int:
        """Bytes that the remembered embeddings take."""
        return self._bytes

    def __call__(self, texts: Sequence[str]) -> Conditioning:
        """Embed n texts as a batch of n."""
        self._forget_other_lora()
        # Kept in ``found`` as well, so that more texts than can be remembered are still embedded only once.
        found = {text: self._known[text] for text in texts if text in self._known}
        for text in found:
            self._known.move_to_end(text)
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        for start in range(0, len(missing), self._batch):
            chunk = missing[start : start + self._batch]
            for text, embedded in zip(chunk, self._embed(chunk).to("cpu"), strict=True):
                # A copy, because a view would keep its whole batch in memory.
                found[text] = embedded.apply(Tensor.clone)
                self._remember(text, found[text])
        return Conditioning.cat([found[text] for text in texts]).to(self._parts.device)

    def _forget_other_lora(self) -> None:
        """Forget all that was embedded with other weights of a LoRA on the text encoders, or without one."""
        # The parameters themselves, since another one could come to have the same id once they are gone.
        now = [
            (weight, weight._version, layer.scaling[ADAPTER], layer._disable_adapters)
            for reader in self._parts.texts
            for layer in lora_layers(reader.encoder).values()
            for weight in layer_weights(layer)
        ]
        before, self._lora = self._lora, now
        same = len(now) == len(before) and all(
            one is other and rest == others for (one, *rest), (other, *others) in zip(now, before, strict=True)
        )
        if not same:
            self._known.clear()
            self._bytes = 0

    def _remember(self, text: str, embedded: Conditioning) -> None:
        self._known[text] = embedded
        self._bytes += embedded.nbytes
        while self._bytes > self._most:
            _, forgotten = self._known.popitem(last=False)
            self._bytes -= forgotten.nbytes

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """Return (n, d): the state at each text's end token, the usual summary of a prompt. It is not remembered.

        By the frozen model: what a text means does not depend on what was erased.

        Of several text encoders these are the states that cross-attention reads, side by side.
        """
        pooled = [self._end_states(texts[start : start + self._batch]) for start in range(0, len(texts), self._batch)]
        return torch.cat(pooled)

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> Conditioning:
        readers = self._parts.texts
        embedded = read_by_both(readers, [reader.ids(texts) for reader in readers])
        if not self._parts.info.family.zero_empty:
            return embedded
        said = torch.tensor([text != "" for text in texts], device=self._parts.device)
        return embedded.apply(lambda tensor: tensor * said.view(-1, *(1 for _ in tensor.shape[1:])))

    @torch.no_grad()
    def _end_states(self, texts: Sequence[str]) -> Tensor:
        states = []
        for reader in self._parts.texts:
            # The text encoder is causal: the padding after the end token cannot change its state.
            ids = reader.ids(texts, padding="longest")
            with without_lora(reader.encoder):
                read, _ = reader.read(ids)
            states.append(read[torch.arange(len(ids), device=ids.device), reader.ends(ids)])
        return torch.cat(states, dim=1)
