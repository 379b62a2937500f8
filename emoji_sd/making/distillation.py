"""The loss of the miniatures: their U-Nets learn what the one that ships predicts for the same noisy latents.

Against the noise itself, a few hundred steps would not be enough: most of that error is noise that no U-Net can know.
With v-prediction the goal is v = sqrt(a) eps - sqrt(1 - a) x0 of the predicted eps and x0 (Salimans and Ho 2022,
arXiv:2202.00512, Section 4). Where blocks of the teacher are missing, its features are a second goal (Kim et al. 2023,
arXiv:2305.15798, Section 3.2).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from emoji_sd.making.batches import Batch
from emoji_sd.making.miniature import Miniature, read_states

FEATURES = 0.02
"""Weight of the features' relative squared error, each."""
PIXELS = 128


def v_of(eps: Tensor, noisy: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return v (b, c, h, w) of noise and noisy latents z_t (b, c, h, w) at levels alpha_bar (b,)."""
    level = alpha_bar.view(-1, 1, 1, 1)
    return (eps - (1 - level).sqrt() * noisy) / level.sqrt()


def tell(states: Tensor, pooled: Tensor | None) -> dict[str, Any]:
    """Return the U-Net's arguments for text states (b, 77, d), and for pooled text (b, p) with sizes if it takes any.

    As in SDXL's programs, the sizes are the original's, what was cut off, and the picture's own, in pixels.
    """
    if pooled is None:
        return {"encoder_hidden_states": states}
    sizes = torch.tensor([[PIXELS, PIXELS, 0, 0, PIXELS, PIXELS]], dtype=torch.float32, device=states.device)
    added = {"text_embeds": pooled, "time_ids": sizes.expand(len(states), -1)}
    return {"encoder_hidden_states": states, "added_cond_kwargs": added}


class Captions:
    """Encodes captions by their rows, with the miniature's own text encoders on the CPU."""

    def __init__(self, miniature: Miniature, work: Path) -> None:
        self.miniature = miniature
        self.encoders = miniature.text_encoders(CLIPTextModel.from_pretrained(work / "text_encoder").eval())
        self.tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
        self.texts: list[str] = list(json.loads((work / "captions.json").read_text()))

    def __call__(self, rows: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
        """Return the text states (b, 77, d), and the pooled text (b, p) if the U-Net is told it.

        SDXL's programs put zeros in place of an empty prompt's.
        """
        texts = [self.texts[row] for row in rows]
        tokens = self.tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        states, pooled = read_states(self.miniature, self.encoders, tokens["input_ids"])
        if not self.miniature.xl:
            return states, None
        there = torch.tensor([bool(text) for text in texts])
        return states * there[:, None, None], pooled * there[:, None]


class Distillation:
    """The loss of a batch: the distance of ``student`` from ``teacher``, with the weights of min-SNR-5."""

    def __init__(self, miniature: Miniature, work: Path, teacher: UNet2DConditionModel, student: nn.Module) -> None:
        self.v, self.teacher = miniature.prediction == "v_prediction", teacher
        self.captions = Captions(miniature, work)
        if teacher.device.type == "cpu":
            teacher.set_attn_processor(AttnProcessor())
        self.goals = _kept([teacher.get_submodule(name) for _, name in miniature.alike])
        self.found = _kept([student.get_submodule(name) for name, _ in miniature.alike])

    def __call__(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        """Return the loss; ``model``: the student, or what wraps it. Call it under autocast or not."""
        with torch.no_grad():
            eps = self.teacher(batch.noisy, batch.t, batch.text).sample.float()
        states, pooled = self.captions(batch.rows)
        told = tell(states.to(eps.device), None if pooled is None else pooled.to(eps.device))
        predicted = model(batch.noisy, batch.t, **told).sample.float()
        goal, weight = eps, batch.weight
        if self.v:
            # Of the same error of x0, v has (snr + 1) times the square, and the noise snr times.
            goal, weight = v_of(eps, batch.noisy, batch.alpha_bar), batch.weight * batch.alpha_bar
        loss: Tensor = ((predicted - goal).square().mean((1, 2, 3)) * weight).mean()
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
