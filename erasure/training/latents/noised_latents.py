"""Noisy latents that no sampling leads to: bare noise, and pictures with noise on them. For methods to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from erasure.config.settings import EraseConfig
from erasure.model.conditioning import Prompt
from erasure.model.model import Model
from erasure.training.latents.source import LatentSource, LatentState, sampled


class NoiseLatents(LatentSource):
    """Always the same bare noise, told to the U-Net as any timestep: costs no row, and no picture ever looks so.

    As "instant" LECO trains (TrainTrain by hako-mikan): noise is drawn once, one for each prompt of an update, and t
    is uniform over all that the model was trained on.
    """

    def __init__(self, model: Model, config: EraseConfig):
        self._model = model
        self._seed = config.seed
        self._noise: list[Tensor] = []

    def draw(
        self, prompts: Sequence[Prompt], generator: Generator, *, tuned: bool, early: bool = False
    ) -> list[LatentState]:
        while len(self._noise) < len(prompts):
            # From the seed and its place alone, so that a resumed run has the same noise without keeping it.
            own = Generator().manual_seed(self._seed * 1_000_003 + 500_000 + len(self._noise))
            self._noise.append(self._model.noise(own))
        return [LatentState(z, _any_timestep(self._model, generator)) for z in self._noise[: len(prompts)]]

    def move(self, device: torch.device | str) -> None:
        self._noise = [noise.to(device) for noise in self._noise]


@dataclass
class CleanLatent:
    """Clean latents (c, h, w) of one picture of a prompt, in fp16 on the CPU."""

    x0: Tensor
    uses: int = 0


class PictureLatents(LatentSource):
    """Pictures that the frozen model draws of a prompt, noised to a random timestep (Kumari et al. 2023).

    z_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise. A state's ``eps`` is that noise itself: what diffusion
    training asks for there. A picture is used ``reuse`` times (0: as often as it took steps) before the next is drawn.
    """

    def __init__(self, model: Model, config: EraseConfig):
        self._model = model
        self._steps = config.sampling_steps
        self._guidance = config.sampling_guidance
        self._reuse = config.reuse or config.sampling_steps
        self._known: dict[str, CleanLatent] = {}

    @torch.no_grad()
    def draw(
        self, prompts: Sequence[Prompt], generator: Generator, *, tuned: bool, early: bool = False
    ) -> list[LatentState]:
        # All that is random is drawn prompt by prompt; then the pictures that are missing, all at once.
        known, pictures, new, at = dict(self._known), [], [], []
        for prompt in prompts:
            picture = known.get(prompt.text)
            if picture is None or picture.uses >= self._reuse:
                picture = known[prompt.text] = CleanLatent(self._model.noise(generator))
                new.append((prompt, picture))
            picture.uses += 1
            pictures.append(picture)
            at.append((_any_timestep(self._model, generator), self._model.noise(generator)))
        self._sample(new)
        self._known = known  # not before, since without memory for sampling there would be noise among the pictures
        return [self._noised(picture.x0, t, noise) for picture, (t, noise) in zip(pictures, at, strict=True)]

    def _sample(self, new: Sequence[tuple[Prompt, CleanLatent]]) -> None:
        """Turn the noise that each new picture begins with into its clean latents."""
        prompts, noise = [prompt for prompt, _ in new], [picture.x0 for _, picture in new]
        taken = [self._steps] * len(new)
        with self._model.frozen():
            found = sampled(self._model, prompts, noise, taken, steps=self._steps, guidance=self._guidance)
        for (_, picture), x0 in zip(new, found, strict=True):
            picture.x0 = x0.to("cpu", torch.float16)

    def _noised(self, x0: Tensor, t: int, noise: Tensor) -> LatentState:
        alpha_bar = self._model.alphas_cumprod[t]
        x0 = x0.to(self._model.device, torch.float32)
        return LatentState(alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise, t, eps=noise)

    def tensors(self) -> dict[str, Tensor]:
        """Names are ``<uses>.<text>``."""
        return {f"{picture.uses}.{text}": picture.x0 for text, picture in self._known.items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._known = {}
        for name, x0 in tensors.items():
            uses, text = name.split(".", 1)
            self._known[text] = CleanLatent(x0.clone(), int(uses))


def _any_timestep(model: Model, generator: Generator) -> int:
    return int(torch.randint(model.train_steps, (), generator=generator))
