"""The sensitivity spectrum: how far erasing moved the predicted noise for each word (Bui et al. 2024, Section 3.2).

The paper measures sensitivity with pictures and CLIP (see :mod:`erasure.evaluate.clip`). Comparing the noise itself
takes minutes for thousands of words, and needs no other model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from erasure.model.conditioning import Conditioning
from erasure.model.model import Model
from erasure.model.sampling import alpha_bar_after, ddim_step, ddim_timesteps, guided_eps


@dataclass(frozen=True)
class Sensitivity:
    """How far erasing moved one word c.

    ``change`` is E || eps_theta'(z_t, c) - eps_theta(z_t, c) ||^2 as a mean per element. ``share`` is that divided by
    E || eps_theta(z_t, c) - eps_theta(z_t, "") ||^2, which is how far the word itself moves the frozen model's noise:
    with a share of 1, erasing has moved the word as far as leaving it out would.
    """

    text: str
    change: float
    share: float


@torch.no_grad()
def sensitivity_spectrum(
    model: Model,
    texts: Sequence[str],
    *,
    states: int = 4,
    steps: int = 8,
    guidance: float = 3.0,
    seed: int = 0,
    batch: int = 16,
) -> Iterator[Sensitivity]:
    """Yield a result for each text, in the order given, of the LoRA that is on the model.

    The latents z_t are ``states`` evenly spaced points of each text's DDIM sampling by the frozen model, which always
    begins with the same noise. Costs at most 2 ``steps`` + ``states`` U-Net rows per text.
    """
    null = model.embed([""])
    noise = model.noise(Generator().manual_seed(seed))[None]
    for start in range(0, len(texts), batch):
        chunk = texts[start : start + batch]
        change, own = _moved(model, model.embed(chunk), null, noise, states, steps, guidance)
        for text, moved, word in zip(chunk, change.tolist(), own.tolist(), strict=True):
            yield Sensitivity(text, moved, moved / word if word > 0 else float("inf"))


def _moved(
    model: Model,
    prompts: Conditioning,
    null: Conditioning,
    noise: Tensor,
    states: int,
    steps: int,
    guidance: float,
) -> tuple[Tensor, Tensor]:
    """Return the mean squared change by tuning, and by the prompt itself, (b,) each."""
    timesteps, alphas_cumprod = ddim_timesteps(steps, model.train_steps), model.alphas_cumprod
    looked_at = {int((i + 0.5) * steps / states) for i in range(states)}
    z = noise.expand(len(prompts), -1, -1, -1)
    change, own = torch.zeros(len(prompts), device=z.device), torch.zeros(len(prompts), device=z.device)
    for i in range(max(looked_at) + 1):
        t = torch.full((len(z),), timesteps[i], device=z.device)
        with model.frozen():
            # Without guidance the noise for "" is missing, but the share needs it.
            guided, conditional, unconditional = guided_eps(model.eps, z, t, prompts, null, guidance)
            if unconditional is None and i in looked_at:
                unconditional = model.eps(z, t, null.expand(len(prompts)))
        if i in looked_at:
            change += (model.eps(z, t, prompts) - conditional).square().mean(dim=(1, 2, 3))
            assert unconditional is not None
            own += (conditional - unconditional).square().mean(dim=(1, 2, 3))
        z = ddim_step(z, guided, alphas_cumprod[t], alpha_bar_after(alphas_cumprod, timesteps, i, len(z)))
    return change / len(looked_at), own / len(looked_at)
