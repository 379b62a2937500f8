"""The sensitivity spectrum: how far erasing moved the predicted noise of each word (Bui et al. 2024, Section 3.2).

The paper measures sensitivity by pictures and CLIP (see :mod:`erasure.evaluate.clip`); the noise itself says it for
thousands of words in minutes, and without another model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from erasure.model.denoiser import Denoiser
from erasure.model.embedding import Embedder
from erasure.model.models import Models
from erasure.model.sampling import alpha_bar_after, ddim_step, ddim_timesteps, guided_eps


@dataclass(frozen=True)
class Sensitivity:
    """``change`` = E || eps_theta'(z_t, c) - eps_theta(z_t, c) ||^2, mean per element; ``share``: the same relative to
    E || eps_theta(z_t, c) - eps_theta(z_t, "") ||^2, how much the word itself moves the frozen model's noise. With a
    share of 1, erasing has moved the word as far as leaving it out would.
    """

    text: str
    change: float
    share: float


@torch.no_grad()
def sensitivity_spectrum(
    models: Models,
    denoiser: Denoiser,
    embedder: Embedder,
    texts: Sequence[str],
    *,
    states: int = 4,
    steps: int = 8,
    guidance: float = 3.0,
    seed: int = 0,
    batch: int = 16,
) -> Iterator[Sensitivity]:
    """One result per text, in their order, of the LoRA that is on the U-Net.

    z_t are ``states`` points, evenly spread, of each text's own DDIM sampling by the frozen model, all from the same
    noise. Costs 2 ``steps`` + ``states`` rows per text.
    """
    null = embedder([""])[0]
    side = models.sample_size
    noise = torch.randn((1, 4, side, side), generator=Generator().manual_seed(seed)).to(denoiser.device)
    for start in range(0, len(texts), batch):
        chunk = texts[start : start + batch]
        change, own = _moved(denoiser, models.alphas_cumprod, embedder(chunk), null, noise, states, steps, guidance)
        for text, moved, word in zip(chunk, change.tolist(), own.tolist(), strict=True):
            yield Sensitivity(text, moved, moved / word if word > 0 else float("inf"))


def _moved(
    denoiser: Denoiser,
    alphas_cumprod: Tensor,
    embedding: Tensor,
    null: Tensor,
    noise: Tensor,
    states: int,
    steps: int,
    guidance: float,
) -> tuple[Tensor, Tensor]:
    """Mean squared change by tuning, and by the prompt itself, (b,) each."""
    timesteps = ddim_timesteps(steps)
    looked_at = {int((i + 0.5) * steps / states) for i in range(states)}
    z = noise.expand(len(embedding), -1, -1, -1)
    change, own = torch.zeros(len(embedding), device=z.device), torch.zeros(len(embedding), device=z.device)
    for i in range(max(looked_at) + 1):
        t = torch.full((len(z),), timesteps[i], device=z.device)
        with denoiser.frozen():
            # Without guidance the unconditional noise is still needed, to say how much the prompt does.
            guided, conditional, unconditional = guided_eps(denoiser, z, t, embedding, null, guidance)
            if unconditional is None and i in looked_at:
                unconditional = denoiser(z, t, null.expand_as(embedding))
        if i in looked_at:
            change += (denoiser(z, t, embedding) - conditional).square().mean(dim=(1, 2, 3))
            assert unconditional is not None
            own += (conditional - unconditional).square().mean(dim=(1, 2, 3))
        z = ddim_step(z, guided, alphas_cumprod[t], alpha_bar_after(alphas_cumprod, timesteps, i, len(z)))
    return change / len(looked_at), own / len(looked_at)
