"""Draws what a U-Net is trained on: noisy latents with the captions of their pictures, and SD's noise schedule."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emoji_sd.captions import draw_caption
from emoji_sd.concepts import CONCEPTS, STYLES

DROPPED_CAPTIONS = 0.10


def alphas_cumprod() -> Tensor:
    """Return alpha_bar (1000,) of SD's ``scaled_linear`` schedule, 0.00085 to 0.012 in 1000 steps."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    return (1 - betas).cumprod(0).float()


@dataclass(frozen=True)
class Batch:
    """What one step of training sees.

    ``noisy`` z_t and ``eps``: (b, 4, 16, 16); ``t``: (b,); ``rows``: of each picture's caption in ``captions.npy``;
    ``text``: its states (b, 77, 96); ``alpha_bar`` and ``weight``, which is min-SNR-5's of the noise: (b,).
    """

    noisy: Tensor
    eps: Tensor
    t: Tensor
    rows: tuple[int, ...]
    text: Tensor
    alpha_bar: Tensor
    weight: Tensor

    def to(self, device: str) -> Batch:
        """Return the batch on another device."""
        noisy, eps, t, text = (tensor.to(device) for tensor in (self.noisy, self.eps, self.t, self.text))
        return Batch(noisy, eps, t, self.rows, text, self.alpha_bar.to(device), self.weight.to(device))


class Batches:
    """Draws batches that depend only on (step, rank), so that a resumed run sees what an uninterrupted one would."""

    def __init__(self, work: Path) -> None:
        parts = [np.load(path) for path in sorted(work.glob("latents-*.npz"))]
        self.z = torch.from_numpy(np.concatenate([part["z"] for part in parts]))
        self.concepts = np.concatenate([part["concepts"] for part in parts])
        self.styles = np.concatenate([part["styles"] for part in parts])
        self.states = np.load(work / "captions.npy", mmap_mode="r")
        self.rows: dict[str, int] = json.loads((work / "captions.json").read_text())
        self.alpha_bar = alphas_cumprod()

    def draw(self, step: int, rank: int, count: int) -> Batch:
        """Draw ``count`` pictures at timesteps that are spread evenly."""
        rng = np.random.default_rng([400, step, rank])
        words = random.Random(int(rng.integers(2**31)))
        picked = rng.integers(0, len(self.z), count)
        rows = []
        for number in picked:
            caption = draw_caption(CONCEPTS[self.concepts[number]], STYLES[self.styles[number]], words)
            rows.append(0 if words.random() < DROPPED_CAPTIONS else self.rows[caption])
        text = torch.from_numpy(self.states[rows]).float()
        z = self.z[torch.from_numpy(picked)].float()
        eps = torch.from_numpy(rng.standard_normal(z.shape, dtype=np.float32))
        t = torch.from_numpy(((np.arange(count) + rng.random(count)) / count * 1000).astype(np.int64))
        kept = self.alpha_bar[t]
        level = kept.view(-1, 1, 1, 1)
        snr = kept / (1 - kept)
        noisy = level.sqrt() * z + (1 - level).sqrt() * eps
        return Batch(noisy, eps, t, tuple(rows), text, kept, snr.clamp(max=5) / snr)
