"""Pictures of the frozen model with their scores, remembered, so that none is drawn or judged twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from erasure.judge.judge import Judge, Query
from erasure.judge.judge_settings import JUDGE_SETTINGS, QUERIES_AT_ONCE, settings_for
from erasure.model.drawing import counted_steps, run_to_end
from erasure.model.model import Model
from erasure.model.rows import Purpose

Picture = tuple[str, int]
"""A prompt and a seed: with the frozen model, they decide a picture."""

AlbumState = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""What :meth:`Album.tensors` and :meth:`Album.meta` return."""


class Album:
    """Whoever judges the frozen model's pictures in one session shares one; it stays on the CPU.

    ``judge`` draws and judges what is not in it yet.
    """

    def __init__(self, model: Model, judge: Judge):
        self.judge = judge
        self._model = model
        self._latents: dict[Picture, Tensor] = {}
        self._scores: dict[tuple[Picture, Query], float] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._latents.clear()
        self._scores.clear()

    def tensors(self) -> dict[str, Tensor]:
        """Return the pictures: ``latents`` (n, c, h, w), in the order of :meth:`meta`; (0,) if there are none."""
        # Never nothing at all: older versions of safetensors write no sound file without a tensor.
        return {"latents": torch.stack(list(self._latents.values())) if self._latents else torch.zeros(0)}

    def meta(self) -> dict[str, Any]:
        """Return what the pictures are of, and their scores, as plain values."""
        number = {picture: i for i, picture in enumerate(self._latents)}
        scores = [[number[p], q.prompt, q.rest, score] for (p, q), score in self._scores.items()]
        return {"pictures": [list(picture) for picture in self._latents], "scores": scores}

    def load(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Undo :meth:`tensors` and :meth:`meta`, of the same model and settings of the judge."""
        pictures: list[Picture] = [(prompt, seed) for prompt, seed in meta["pictures"]]
        self._latents = dict(zip(pictures, tensors["latents"], strict=True))
        self._scores = {(pictures[i], Query(prompt, rest)): score for i, prompt, rest, score in meta["scores"]}

    def draw(self, pictures: Sequence[Picture], purpose: Purpose) -> Generator[float, None, Tensor]:
        """Return clean latents (n, c, h, w) on the CPU. Yields the share that is done, unless all are there."""
        new = [picture for picture in dict.fromkeys(pictures) if picture not in self._latents]
        if new:
            steps = self.judge.draw([prompt for prompt, _ in new], [seed for _, seed in new])
            drawn = yield from counted_steps(self._model, steps, purpose, frozen=True)
            self._latents.update(zip(new, drawn, strict=True))
        return torch.stack([self._latents[picture] for picture in pictures])

    def scores(self, asked: Sequence[tuple[Picture, Query]], purpose: Purpose) -> list[float]:
        """Do all of :meth:`score_steps` at once."""
        return run_to_end(self.score_steps(asked, purpose))

    def score_steps(
        self, asked: Sequence[tuple[Picture, Query]], purpose: Purpose
    ) -> Generator[float, None, list[float]]:
        """Return the score of each query about the picture beside it, which was drawn before.

        Queries about one picture that have the same ``rest`` share its rows. Yields the share that is done, unless all
        are known.
        """
        together: dict[tuple[Picture, str], list[Query]] = defaultdict(list)
        for picture, query in dict.fromkeys(asked):
            if (picture, query) not in self._scores:
                together[picture, query.rest].append(query)
        # A call takes pictures that have the same number of queries.
        by_count: dict[int, list[tuple[Picture, list[Query]]]] = defaultdict(list)
        for (picture, _), queries in together.items():
            for start in range(0, len(queries), QUERIES_AT_ONCE):
                part = queries[start : start + QUERIES_AT_ONCE]
                by_count[len(part)].append((picture, part))
        total, done = sum(map(len, by_count.values())), 0
        size = self.judge.settings.drawing.batch  # as many as it takes in one call
        for every in by_count.values():
            for start in range(0, len(every), size):
                rows = every[start : start + size]
                latents = torch.stack([self._latents[picture] for picture, _ in rows])
                with self._model.rows.purpose(purpose):
                    found = self.judge.scores(latents, [queries for _, queries in rows])
                for (picture, queries), scores in zip(rows, found, strict=True):
                    self._scores.update(zip([(picture, query) for query in queries], scores, strict=True))
                done += len(rows)
                yield done / total
        return [self._scores[each] for each in asked]


def open_album(model: Model, templates: Sequence[str]) -> Album:
    """Return an album for building a concept space and for its examination, which judge some of the same pictures."""
    return Album(model, Judge(model, settings_for(templates, JUDGE_SETTINGS)))
