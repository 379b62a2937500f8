"""Tells with the judge which words the model draws as a target, and which of them it draws the target as."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from statistics import fmean

from erasure.concepts.row_count import EMPTY_PICTURES, PICTURES, SCALE_PICTURES
from erasure.config.template import fill
from erasure.judge.album import Album, Picture
from erasure.judge.judge import Query
from erasure.judge.scale import CUT, Scale
from erasure.judge.takes import takes
from erasure.model.drawing import relayed
from erasure.model.rows import Purpose

# A word whose first picture shows less of a target than this is not drawn again: for the mean of both to reach the cut,
# the second would have to show nearly twice as much as the first may. On the miniatures none did.
HOPELESS = 0.7 * CUT


class Lookalikes:
    """Judges few pictures of each word, all of the frozen model, in the templates and seeds that verdicts use.

    A target's scale is made from so many of its ``own`` pictures, and from those of other things: of ``unrelated``
    words, one of each, and of no concept. Its rows count for the ``purpose``. Those of all ``targets``
    are made as soon as one is needed, because queries about one picture share rows. All that draws or judges yields the
    share that is done, if anything is to be done.
    """

    def __init__(
        self,
        album: Album,
        templates: Sequence[str],
        targets: Sequence[str],
        unrelated: Sequence[str],
        purpose: Purpose,
        own: int = SCALE_PICTURES,
    ):
        self._album = album
        self._targets = targets
        self._purpose = purpose
        self._takes = takes(templates, PICTURES)
        self._of_target = takes(templates, own)
        # (word, take) of pictures of other things.
        self._others = [(word, self._takes[0]) for word in unrelated]
        self._others += [("", take) for take in takes(templates, EMPTY_PICTURES)]
        self._scales: dict[str, Scale] = {}

    def scale(self, target: str) -> Generator[float, None, Scale]:
        """Return what scores for one of the targets mean. If it does not ``tell``, nothing can be said about it."""
        if not self._scales:
            shown = {
                each: [
                    [(_picture(word, take), _query(each, take)) for word, take in pictures]
                    for pictures in ([(each, take) for take in self._of_target], self._others)
                ]
                for each in self._targets
            }
            asked = [pair for kinds in shown.values() for pairs in kinds for pair in pairs]
            yield from self._drawing([picture for picture, _ in asked], self._purpose, 0, 2)
            yield from self._judging(asked, self._purpose, 1, 2)
            for each, kinds in shown.items():
                present, absent = (self._album.scores(pairs, self._purpose) for pairs in kinds)
                self._scales[each] = Scale.of(present, absent)
        return self._scales[target]

    def cannot_tell(self, target: str) -> bool:
        """Whether it was found that the model does not draw the target recognisably."""
        return target in self._scales and not self._scales[target].tells

    def both_ways(self, target: str, words: Sequence[str]) -> Generator[float, None, set[str]]:
        """Return the words that the model draws as the target, and the target as them. Its scale is known, and tells.

        A word is drawn only if it was recognised in the target's own pictures.
        """
        scale = self._scales[target]
        yield from self._judging([pair for word in words for pair in self._asked(target, word)], "synonyms", 0, 3)
        seen = [word for word in words if scale.shows_most(self._scores(target, word, "synonyms"))]
        yield from self._drawing([picture for word in seen for picture in self._pictures(word)], "synonyms", 1, 3)
        # All at once, because queries about one picture share rows.
        both = [pair for word in seen for asked in (word, target) for pair in self._asked(word, asked)]
        yield from self._judging(both, "synonyms", 2, 3)
        return {word for word in seen if self._holds(target, word, scale)}

    def drawn_as(self, target: str, words: Collection[str]) -> Generator[float, None, set[str]]:
        """Return the words whose own pictures show the target, whose scale is known, and tells. Rows count as
        ``verdict``."""
        yield from self._drawing([picture for word in words for picture in self._pictures(word)], "verdict", 0, 2)
        yield from self._judging([pair for word in words for pair in self._asked(word, target)], "verdict", 1, 2)
        scale = self._scales[target]
        return {word for word in words if scale.shows_most(self._scores(word, target, "verdict"))}

    def levels(self, target: str, words: Collection[str]) -> Generator[float, None, dict[str, float]]:
        """Return how strongly each word's pictures show the target, on average. Its scale is known, and tells.

        Of a word whose first picture shows less than :data:`HOPELESS` of it, that is all. Rows count as ``hostile``.
        """
        scale = self._scales[target]
        found: dict[str, list[float]] = {word: [] for word in words}
        for part, take in enumerate(self._takes):
            left = [word for word, shown in found.items() if all(level >= HOPELESS for level in shown)]
            shots, start, parts = [_picture(word, take) for word in left], 2 * part, 2 * len(self._takes)
            yield from self._drawing(shots, "hostile", start, parts)
            asked = [(shot, _query(target, take)) for shot in shots]
            scores = yield from self._judging(asked, "hostile", start + 1, parts)
            for word, score in zip(left, scores, strict=True):
                found[word].append(scale.level(score))
        return {word: fmean(shown) for word, shown in found.items()}

    def _holds(self, target: str, word: str, scale: Scale) -> bool:
        # The word's own pictures are known by now, so the first direction is asked again on the word's own scale.
        own = Scale.of(self._scores(word, word, "synonyms"), [scale.absent])
        as_word, as_target = self._scores(target, word, "synonyms"), self._scores(word, target, "synonyms")
        return own.shows_most(as_word) and scale.shows_most(as_target)

    def _drawing(
        self, pictures: Sequence[Picture], purpose: Purpose, part: int, parts: int
    ) -> Generator[float, None, None]:
        """Draw pictures, as one of the equal parts of a piece of work."""
        if pictures:
            yield from relayed(self._album.draw(pictures, purpose), lambda share: (part + share) / parts)

    def _judging(
        self, asked: Sequence[tuple[Picture, Query]], purpose: Purpose, part: int, parts: int
    ) -> Generator[float, None, list[float]]:
        """Judge pictures, as one of the equal parts of a piece of work. Return the scores."""
        steps = self._album.score_steps(asked, purpose)
        return (yield from relayed(steps, lambda share: (part + share) / parts))

    def _pictures(self, word: str) -> list[Picture]:
        return [_picture(word, take) for take in self._takes]

    def _asked(self, drawn: str, asked: str) -> list[tuple[Picture, Query]]:
        """Return each picture of one word with the query whether it shows another."""
        return [(_picture(drawn, take), _query(asked, take)) for take in self._takes]

    def _scores(self, drawn: str, asked: str, purpose: Purpose) -> list[float]:
        return self._album.scores(self._asked(drawn, asked), purpose)


def _picture(word: str, take: tuple[str, int]) -> Picture:
    template, seed = take
    return fill(template, word), seed


def _query(word: str, take: tuple[str, int]) -> Query:
    template, _ = take
    return Query(fill(template, word), fill(template, ""))
