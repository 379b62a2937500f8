"""A picture: one colour that depends on prompt, negative prompt, seed, checkpoint and the networks that are on."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from typing import Any

from modules import devices, extra_networks, sd_models, shared
from PIL import Image


@dataclass
class StableDiffusionProcessing:
    sd_model: Any = None
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = -1
    sampler_name: str | None = None
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    disable_extra_networks: bool = False
    closed: bool = field(default=False, init=False)
    comments: dict[str, int] = field(default_factory=dict, init=False)
    cached_c: list[Any] = field(default_factory=lambda: [None, None], init=False)
    cached_uc: list[Any] = field(default_factory=lambda: [None, None], init=False)
    prompts: list[str] | None = field(default=None, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    refiner_checkpoint_info: Any = field(default=None, init=False)
    extra_network_data: dict[str, Any] = field(default_factory=dict, init=False)

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def parse_extra_network_prompts(self) -> None:
        assert self.prompts is not None
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

    def close(self) -> None:
        self.closed = True


@dataclass
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr: bool = False
    hr_prompt: str = ""
    hr_extra_network_data: dict[str, Any] = field(default_factory=dict, init=False)

    def parse_extra_network_prompts(self) -> None:
        super().parse_extra_network_prompts()
        if self.enable_hr:
            self.hr_extra_network_data = extra_networks.parse_prompts([self.hr_prompt or self.prompt])[1]


class Processed:
    def __init__(self, p: StableDiffusionProcessing, images_list: list[Image.Image]) -> None:
        self.images = images_list


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Draw a picture. Fails, as torch would, if the model is not on the device."""
    model = p.sd_model = sd_models.reload_model_weights()
    if model.device != devices.device:
        raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices")
    state = shared.state
    state.job_count, state.sampling_steps = 1, p.steps
    pictures = []
    for number in range(p.n_iter):
        for step in range(p.steps):
            if state.interrupted:
                break
            state.sampling_step = step + 1
        p.prompts = [p.prompt]
        p.parse_extra_network_prompts()
        pictures.append(_picture(p, number))
    state.nextjob()
    return Processed(p, pictures)


def _picture(p: StableDiffusionProcessing, number: int) -> Image.Image:
    assert p.prompts is not None
    if not p.disable_extra_networks:
        extra_networks.activate(p, p.extra_network_data)
    on = [_networks_on()]
    if isinstance(p, StableDiffusionProcessingTxt2Img) and p.enable_hr:
        p.is_hr_pass = True
        if not p.disable_extra_networks:
            extra_networks.activate(p, p.hr_extra_network_data)
        p.is_hr_pass = False
        on.append(_networks_on())
    file = p.sd_model.sd_checkpoint_info.filename
    what = f"{p.prompts[0]}|{p.negative_prompt}|{p.seed + number}|{p.steps}|{p.cfg_scale}|{file}|{on}"
    colour = tuple(hashlib.sha256(what.encode()).digest()[:3])
    return Image.new("RGB", (p.width, p.height), colour)


def _networks_on() -> list[Any]:
    lora = sys.modules.get("networks")
    return [] if lora is None else sorted(lora.loaded_networks)
