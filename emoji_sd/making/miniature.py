"""Miniatures of other families than Stable Diffusion 1.x. They start from the one that ships, and learn from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from emoji_sd.making.miniature_text import clip_encoder, open_clip_encoder
from emoji_sd.making.miniature_unet import linear_unet, xl_config, xl_unet
from emoji_sd.making.width import SHIPPED

TextEncoders = tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]

SPREAD = 1.75
"""Usual deviation of the shipped encoder's states before its final norm: over 200 captions 1.75, give or take 0.10."""


@dataclass(frozen=True)
class Miniature:
    """What distinguishes a miniature from the model that ships.

    ``title``: name of its files; ``prediction``: of its U-Net; ``vae_scale``: of its latents; ``xl``: whether it has
    SDXL's layout, with two text encoders, sizes and pooled text, and zeros in place of the empty caption; ``alike``:
    pairs of a part of its U-Net and one of the shipped U-Net, whose outputs have the same shape and should be the same.
    """

    name: str
    title: str
    prediction: Literal["epsilon", "v_prediction"]
    vae_scale: float
    xl: bool = False
    alike: tuple[tuple[str, str], ...] = ()

    def run_folder(self, work: Path) -> Path:
        """Return where its U-Net is trained."""
        return work / f"run-{self.name}"

    def empty_unet(self) -> UNet2DConditionModel:
        """Return its U-Net with random weights."""
        config = xl_config() if self.xl else {**SHIPPED.unet_config(), "use_linear_projection": True}
        return UNet2DConditionModel(**config)

    def start(self, unet: UNet2DConditionModel, text: CLIPTextModel) -> UNet2DConditionModel:
        """Return its U-Net as it starts from the shipped one; new weights are drawn from torch's generator."""
        return xl_unet(unet, text, SPREAD) if self.xl else linear_unet(unet)

    def text_encoders(self, shipped: CLIPTextModel) -> TextEncoders:
        """Return its text encoders, made of the shipped one."""
        own = open_clip_encoder(shipped)
        return (clip_encoder(shipped), own) if self.xl else (own,)


SD2V = Miniature("sd2v", "emoji-sd-2v", "v_prediction", vae_scale=0.18215)
SDXL = Miniature(
    "sdxl",
    "emoji-sdxl",
    "epsilon",
    vae_scale=0.13025,
    xl=True,
    alike=(
        ("down_blocks.0", "down_blocks.0"),
        ("down_blocks.1", "down_blocks.1"),
        ("up_blocks.1", "up_blocks.2"),
        ("up_blocks.2", "up_blocks.3"),
    ),
)
MINIATURES = {miniature.name: miniature for miniature in (SD2V, SDXL)}


@torch.no_grad()
def read_states(miniature: Miniature, encoders: TextEncoders, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what its U-Net is told of tokens (b, 77), padded with the end token: states (b, 77, d), pooled (b, p).

    Stable Diffusion 2 applies the final norm to the states before the last layer, SDXL does not. OpenCLIP pads
    otherwise, which its encoder was made to read alike.
    """
    found = [encoder(ids, output_hidden_states=True) for encoder in encoders]
    states = [out.hidden_states[-2] for out in found]
    if not miniature.xl:
        states = [encoders[0].text_model.final_layer_norm(states[0])]
    return torch.cat(states, dim=-1), found[-1].text_embeds
