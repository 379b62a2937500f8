"""The judge: draws short samples, and tells with the frozen model whether a picture shows a prompt."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erasure.judge.judge_settings import JUDGE_SETTINGS, JudgeSettings
from erasure.judge.scores import Denoised, denoise, make_probes
from erasure.model.conditioning import Conditioning
from erasure.model.drawing import latent_steps
from erasure.model.model import Model


@dataclass(frozen=True)
class Query:
    """What is asked of a picture: does it show ``prompt`` rather than ``rest``, the same prompt without the concept?"""

    prompt: str
    rest: str = ""


class Judge:
    """Needs no classifier and no data but the model itself.

    ``settings.rows`` says what drawing and judging cost; a further query about a picture costs half of the first.
    """

    def __init__(self, model: Model, settings: JudgeSettings = JUDGE_SETTINGS):
        self.settings = settings
        self._model = model
        self._probes = make_probes(model, settings.timesteps)

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Generator[float, None, Tensor]:
        """Sample a picture of each prompt with the seed at its place; return clean latents (n, c, h, w) on the CPU.

        With the LoRA that is on the model, or without it inside ``model.frozen()``. Yields the share that is done after
        every step of the sampling.
        """
        return latent_steps(self._model, prompts, seeds, self.settings.drawing)

    @torch.no_grad()
    def draw_conditionings(self, conditioning: Conditioning, seeds: Sequence[int]) -> Tensor:
        """Sample a picture of each conditioning of a batch like :meth:`draw`, all of it at once."""
        drawing, found = self.settings.drawing, []
        for start in range(0, len(seeds), drawing.batch):
            chunk = slice(start, start + drawing.batch)
            noise = [self._model.noise(torch.Generator().manual_seed(seed), drawing.pixels) for seed in seeds[chunk]]
            z = self._model.sample(
                conditioning[chunk], torch.stack(noise), steps=drawing.steps, guidance=drawing.guidance
            )
            found.append(z.cpu())
        return torch.cat(found)

    def scores(self, latents: Tensor, queries: Sequence[Sequence[Query]]) -> list[list[float]]:
        """Return a score for each query about each picture; see :meth:`erasure.judge.scores.Denoised.scores`.

        ``queries`` has one list per picture, all of the same length, whose queries share their ``rest``.
        """
        rows = [[row[0].rest, *(query.prompt for query in row)] for row in queries]
        return [scores for part in self._denoise(latents, rows) for scores in part.scores().tolist()]

    def ranks(self, latents: Tensor, prompts: Sequence[str], others: Sequence[Sequence[str]]) -> list[int]:
        """Return, per picture, the rank of its prompt among ``others``: 0 if it explains the picture best.

        ``others`` has one list per picture, all of the same length. Every prompt takes a row per timestep.
        """
        rows = [[own, *rest] for own, rest in zip(prompts, others, strict=True)]
        return [rank for part in self._denoise(latents, rows) for rank in part.ranks()]

    def own_scores(self, latents: Tensor, queries: Sequence[Query]) -> list[float]:
        """Return the score of each picture for the one query about it."""
        return [row[0] for row in self.scores(latents, [[query] for query in queries])]

    def _denoise(self, latents: Tensor, prompts: Sequence[Sequence[str]]) -> Iterator[Denoised]:
        """Denoise each picture with all prompts of its list, as many pictures at once as are drawn at once."""
        self._probes = self._probes.to(self._model.device)
        size = self.settings.drawing.batch
        for start in range(0, len(prompts), size):
            columns = zip(*prompts[start : start + size], strict=True)
            conditionings = [self._model.embed(column) for column in columns]
            yield denoise(self._model, latents[start : start + size], conditionings, self._probes)

    def move(self, device: torch.device | str) -> None:
        """Move what it holds besides the model."""
        self._probes = self._probes.to(device)
