"""A judge that sees in each picture what a test says, and counts what it is asked."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence

import torch
from torch import Tensor

from erasure.judge.judge import Judge, Query
from erasure.judge.judge_settings import JUDGE_SETTINGS

YES, NO = 2.0, -1.0


class FakeJudge(Judge):
    """``shows``: the concepts that are seen in pictures of a prompt besides its own; ``unseen``: prompts whose pictures
    show nothing at all, or only in the picture with the first seed if they are in ``once``."""

    def __init__(
        self, shows: Mapping[str, Collection[str]], unseen: Collection[str] = (), once: Collection[str] = ()
    ) -> None:
        self.settings = JUDGE_SETTINGS
        self.shows, self.unseen, self.once = shows, unseen, once
        self.drawn: list[tuple[str, int]] = []
        self.asked: list[tuple[tuple[str, int], str]] = []  # (picture, prompt of the query)

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> Generator[float, None, Tensor]:
        start = len(self.drawn)
        self.drawn += zip(prompts, seeds, strict=True)
        yield 1.0
        return torch.arange(start, len(self.drawn), dtype=torch.float32).view(-1, 1, 1, 1)

    def scores(self, latents: Tensor, queries: Sequence[Sequence[Query]]) -> list[list[float]]:
        assert len({len(row) for row in queries}) == 1
        pictures = [self.drawn[int(latent)] for latent in latents]
        return [[self._score(picture, query) for query in row] for picture, row in zip(pictures, queries, strict=True)]

    def _score(self, picture: tuple[str, int], query: Query) -> float:
        prompt, seed = picture
        self.asked.append((picture, query.prompt))
        seen = query.prompt == prompt or query.prompt in self.shows.get(prompt, ())
        first = seed == min(seed for drawn, seed in self.drawn if drawn == prompt)
        return YES if seen and prompt not in self.unseen and (first or prompt not in self.once) else NO
