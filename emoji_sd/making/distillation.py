"""The loss of the miniatures: their U-Nets learn what the one that ships predicts for the same noisy latents.

Against the noise itself, a few hundred steps would not be enough: most of that error is noise that no U-Net can know.
With v-prediction the goal is v = sqrt(a) eps - sqrt(1 - a) x0 of the predicted eps and x0 (Salimans and Ho 2022,
arXiv:2202.00512, Section 4). Where blocks of the teacher are missing, its features are a second goal (Kim et al. 2023,
arXiv:2305.15798, Section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from emoji_sd.making.batches import Batch
from emoji_sd.making.miniature import Miniature

FEATURES = 0.02
"""Weight of the features' relative squared error, each."""
PIXELS = 128


def v_of(eps: Tensor, noisy: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return v (b, c, h, w) of noise and noisy latents z_t (b, c, h, w) at levels alpha_bar (b,)."""
    level = alpha_bar.view(-1, 1, 1, 1)
    return (eps - (1 - level).sqrt() * noisy) / level.sqrt()


class Conditionings:
    """What a miniature's U-Net is told of the captions, by their rows; ``device``: where it is."""

    def __init__(self, miniature: Miniature, work: Path, device: str) -> None:
        self.states = np.load(miniature.states_file(work), mmap_mode="r")
        self.pooled = np.load(miniature.pooled_file(work)) if miniature.xl else None
        self.device = device

    def __call__(self, rows: tuple[int, ...]) -> dict[str, Any]:
        """Return the keyword arguments of the U-Net."""
        states = torch.from_numpy(self.states[list(rows)]).float().to(self.device)
        if self.pooled is None:
            return {"encoder_hidden_states": states}
        pooled = torch.from_numpy(self.pooled[list(rows)]).float().to(self.device)
        # As in SDXL's programs: original size, what was cut off, and size, in pixels.
        sizes = torch.tensor([[PIXELS, PIXELS, 0, 0, PIXELS, PIXELS]], dtype=torch.float32, device=self.device)
        added = {"text_embeds": pooled, "time_ids": sizes.expand(len(rows), -1)}
        return {"encoder_hidden_states": states, "added_cond_kwargs": added}


class Distillation:
    """The loss of a batch: the distance of ``student`` from ``teacher``, with the weights of min-SNR-5."""

    def __init__(self, miniature: Miniature, work: Path, teacher: UNet2DConditionModel, student: nn.Module) -> None:
        device = str(teacher.device)
        self.v, self.teacher = miniature.prediction == "v_prediction", teacher
        self.tell = Conditionings(miniature, work, device)
        if device == "cpu":
            teacher.set_attn_processor(AttnProcessor())
        self.goals = _kept([teacher.get_submodule(name) for _, name in miniature.alike])
        self.found = _kept([student.get_submodule(name) for name, _ in miniature.alike])

    def __call__(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        """Return the loss; ``model``: the student, or what wraps it. Call it under autocast or not."""
        with torch.no_grad():
            eps = self.teacher(batch.noisy, batch.t, batch.text).sample.float()
        predicted = model(batch.noisy, batch.t, **self.tell(batch.rows)).sample.float()
        goal, weight = eps, batch.weight
        if self.v:
            # Of the same error of x0, v has (snr + 1) times the square, and the noise snr times.
            goal, weight = v_of(eps, batch.noisy, batch.alpha_bar), batch.weight * batch.alpha_bar
        loss = ((predicted - goal).square().mean((1, 2, 3)) * weight).mean()
        for own, other in zip(self.found, self.goals, strict=True):
            difference = (own.float() - other.float()).square().mean()
            loss = loss + FEATURES * difference / other.float().square().mean()
        return loss


def _kept(parts: list[nn.Module]) -> list[Tensor]:
    """Return a list in which the parts leave what they computed last."""
    outputs = [torch.empty(0) for _ in parts]

    def keep(place: int) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            # Blocks on the way down return their skip connections too.
            outputs[place] = output[0] if isinstance(output, tuple) else output

        return hook

    for place, part in enumerate(parts):
        part.register_forward_hook(keep(place))
    return outputs
