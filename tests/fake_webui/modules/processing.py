"""A picture: one colour that depends on prompt, negative prompt, seed and checkpoint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from modules import devices, sd_models, shared
from PIL import Image


@dataclass
class StableDiffusionProcessingTxt2Img:
    sd_model: Any = None
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    sampler_name: str | None = None
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    closed: bool = field(default=False, init=False)

    def close(self) -> None:
        self.closed = True


class Processed:
    def __init__(self, p: StableDiffusionProcessingTxt2Img, images_list: list[Image.Image]) -> None:
        self.images = images_list


def process_images(p: StableDiffusionProcessingTxt2Img) -> Processed:
    """Draw a picture. Fails, as torch would, if the model is not on the device."""
    model = sd_models.reload_model_weights()
    if model.device != devices.device:
        raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices")
    state = shared.state
    state.job_count, state.sampling_steps = 1, p.steps
    for step in range(p.steps):
        if state.interrupted:
            break
        state.sampling_step = step + 1
    state.nextjob()
    what = f"{p.prompt}|{p.negative_prompt}|{p.seed}|{p.steps}|{p.cfg_scale}|{model.sd_checkpoint_info.filename}"
    colour = tuple(hashlib.sha256(what.encode()).digest()[:3])
    return Processed(p, [Image.new("RGB", (p.width, p.height), colour)])
