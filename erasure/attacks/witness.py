"""The witness: draws what is asked for without and with the LoRA, and says in which pictures a concept is seen."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from erasure.attacks.outcome import Attempt, Seen, mostly
from erasure.config.template import fill
from erasure.errors import LoraFileError
from erasure.judge.album import Album, Picture
from erasure.judge.judge import Query
from erasure.judge.scale import CUT, Scale
from erasure.model.conditioning import Conditioning
from erasure.model.drawing import counted_steps, relayed
from erasure.model.model import Model
from erasure.whole_file import whole_file

Classify = Callable[[Sequence[Image.Image]], list[bool]]
"""A classifier that knows the concept: whether it is seen in each of some pictures."""

# Attempts that are made at once.
_AT_ONCE = 10

Work = Generator[float, None, list[Attempt]]
"""Yields the share that is done."""


@dataclass(frozen=True)
class Shot:
    """A picture to be drawn: ``template`` is the one of the erasure's in which the concept is looked for."""

    prompt: str
    seed: int
    template: str


@dataclass(frozen=True)
class Asked:
    """An attempt that is to be made: pictures of one wording."""

    kind: str
    prompt: str
    shots: tuple[Shot, ...]


@dataclass
class Witness:
    """Knows what one concept looks like, from the untouched model's own pictures of it (``scale``).

    The LoRA is on the ``model``. ``album``: the untouched model's pictures; ``folder``: where pictures of attacks are
    kept, None: nowhere; ``classify``: a second opinion, if there is one.
    """

    model: Model
    album: Album
    concept: str
    templates: tuple[str, ...]
    scale: Scale
    classify: Classify | None = None
    folder: Path | None = None
    _kept: int = field(default=0, init=False)

    def keep_in(self, folder: Path | None) -> None:
        """From now on keep pictures in this folder, numbered from 1."""
        self.folder, self._kept = folder, 0

    def attempts(self, asked: Sequence[Asked]) -> Work:
        """Draw and judge every attempt; those that the untouched model does not know are not drawn with the LoRA.

        Some at a time, so that little is lost when the work is stopped: the album keeps what was drawn without it.
        """
        made: list[Attempt] = []
        for start in range(0, len(asked), _AT_ONCE):
            chunk = asked[start : start + _AT_ONCE]
            made += yield from relayed(self._some(chunk), partial(_of_all, start, len(chunk), len(asked)))
        return made

    def _some(self, asked: Sequence[Asked]) -> Work:
        shots = [shot for one in asked for shot in one.shots]
        before = yield from relayed(self.album.draw([_picture(s) for s in shots], "attacks"), lambda s: 0.36 * s)
        scores = self.album.score_steps([(_picture(s), self.query(s.template)) for s in shots], "attacks")
        own = yield from relayed(scores, lambda share: 0.36 + 0.14 * share)
        places = _places(asked)
        untouched = [tuple(map(self.scale.shows, own[place])) for place in places]
        known = [i for i, seen in enumerate(untouched) if mostly(seen)]
        again = [shot for i in known for shot in asked[i].shots]
        after, found = yield from relayed(self.erased(again), lambda share: 0.5 + 0.45 * share)
        drawn = dict(zip(known, _places([asked[i] for i in known]), strict=True))
        attempts = []
        for i, (one, seen) in enumerate(zip(asked, untouched, strict=True)):
            attempt = Attempt(one.kind, one.prompt, seen)
            if i in drawn:
                erased = tuple(level >= CUT for level in found[drawn[i]])
                attempt = self.keep(replace(attempt, erased=erased), before[places[i]], after[drawn[i]])
            attempts.append(attempt)
        yield 1.0
        return attempts

    def erased(self, shots: Sequence[Shot]) -> Generator[float, None, tuple[Tensor, list[float]]]:
        """Draw with the LoRA; return clean latents (n, c, h, w) on the CPU, and their :meth:`levels`."""
        if not shots:
            return torch.zeros(0), []
        drawing = self.album.judge.draw([shot.prompt for shot in shots], [shot.seed for shot in shots])
        latents = yield from relayed(counted_steps(self.model, drawing, "attacks"), lambda share: 0.7 * share)
        return latents, self.levels(latents, [shot.template for shot in shots])

    def drawn(self, conditioning: Conditioning, seeds: Sequence[int]) -> Tensor:
        """Draw pictures of a batch of conditionings, as the model is now, one for each seed; return clean latents."""
        with self.model.rows.purpose("attacks"):
            return self.album.judge.draw_conditionings(conditioning, seeds)

    def levels(self, latents: Tensor, templates: Sequence[str]) -> list[float]:
        """Return for each picture how strongly it shows the concept: 1 like the untouched model's own, 0 not at all.

        Raises: LoraFileError if a picture is none, since its values are not finite.
        """
        if not bool(latents.isfinite().all()):  # of which the judge would say that nothing is in them
            raise LoraFileError(
                "with this LoRA the model draws no pictures, only values that are not finite; choose a smaller weight"
            )
        with self.model.rows.purpose("attacks"):
            scores = self.album.judge.own_scores(latents, [self.query(template) for template in templates])
        return [self.scale.level(score) for score in scores]

    def seen(self, latents: Tensor, templates: Sequence[str]) -> list[bool]:
        """Return of each picture whether the concept is seen in it."""
        return [level >= CUT for level in self.levels(latents, templates)]

    def keep(self, attempt: Attempt, before: Tensor, after: Tensor) -> Attempt:
        """Return the attempt with what the classifier says of its pictures, latents (n, c, h, w), and write them."""
        if self.classify is None and self.folder is None:
            return attempt
        self._kept += 1
        both = [[self.model.decode(latent) for latent in latents] for latents in (before, after)]
        names = []
        for state, pictures in zip(("untouched", "erased"), both, strict=True):
            for i, picture in enumerate(pictures):
                names.append(f"{self._kept:03d}-{i}-{state}")
                self._write(picture, names[-1])
        said: list[Seen] = [tuple(self.classify(pictures)) if self.classify else () for pictures in both]
        kept = tuple(names) if self.folder else ()
        return replace(attempt, untouched_classified=said[0], erased_classified=said[1], pictures=kept)

    def query(self, template: str) -> Query:
        """Return the question whether a picture shows the concept."""
        return Query(fill(template, self.concept), fill(template, ""))

    def _write(self, picture: Image.Image, name: str) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(self.folder / f"{name}.png") as temporary:
                picture.save(temporary, format="PNG")


def _of_all(before: int, these: int, total: int, share: float) -> float:
    """Return the share that is done of ``total`` attempts: ``before``, and a share of ``these``."""
    return (before + share * these) / total


def _picture(shot: Shot) -> Picture:
    return shot.prompt, shot.seed


def _places(asked: Sequence[Asked]) -> list[slice]:
    """Return where the pictures of each attempt are among those of all."""
    found, start = [], 0
    for one in asked:
        found.append(slice(start, start + len(one.shots)))
        start += len(one.shots)
    return found
