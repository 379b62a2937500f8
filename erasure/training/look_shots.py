"""Which of an examination's pictures a look takes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from erasure.spread import spread
from erasure.training.look_sizes import FEW, NEAR_WORDS, first_look, second_look
from erasure.verdict.examination import Examination
from erasure.verdict.panel import Member

Kind = Literal["first", "second", "sole"]
"""Of a look: the first or second of two in a row, or the only one, where samples at the start stand in for another."""


class LookShots:
    """Shots are told by their number in the examination, and members by that in its panel."""

    def __init__(self, examination: Examination):
        self._examination = examination
        self._panel = examination.panel
        self.targets = [i for i, member in enumerate(self._panel) if member.role == "target"]
        # A target that the model does not draw recognisably is never seen to be gone.
        self.known = [number for number, target in enumerate(self.targets) if examination.scale(target).tells]

    def of_look(self, targets: Collection[int], turn: int, kind: Kind) -> list[int]:
        """Return the shots to look at: the same ones every time, so that looks can be compared, but for the names.

        ``targets``: by number, those that the look is about; ``turn``: of the names. A second look takes other
        pictures, if the panel has more of them, more names, and no near words; a sole one as many pictures of the
        targets as a second, since other names were all looked at with the samples.
        """
        first, second = first_look(len(self.targets)), second_look(len(self.targets))
        pictures = (first if kind == "first" else second).pictures
        others = (second if kind == "second" else first).names
        # Samples are of the last pictures. With few targets a sole look has the first ones, with many those behind.
        behind = kind == "second" or (kind == "sole" and len(self.targets) > FEW)
        wanted: dict[int, range] = {}
        for number in targets:
            target, names = self.targets[number], self.names(number)
            start = first.pictures if behind and self._panel[target].pictures > first.pictures else 0
            wanted[target] = range(start, start + pictures)
            begin = turn % len(names) if names else 0
            wanted.update(dict.fromkeys((names[begin:] + names[:begin])[:others], range(1)))
        if kind != "second":
            near = [i for i, member in enumerate(self._panel) if member.role == "near" and self._tells(i)]
            wanted.update(dict.fromkeys(spread(near, NEAR_WORDS), range(1)))
        return sorted(k for member, part in wanted.items() for k in self.of(member)[part.start : part.stop])

    def names(self, target: int) -> list[int]:
        """Return the members that are other names of a target, by number, and that the model draws recognisably."""
        return [i for i, m in enumerate(self._panel) if m.role == "name" and m.target == target and self._tells(i)]

    def of(self, member: int) -> list[int]:
        """Return the shots of a member, in order."""
        return [k for k, shot in enumerate(self._examination.shots) if shot.member == member]

    def member(self, shot: int) -> Member:
        """Return the member that a shot is of."""
        return self._panel[self._examination.shots[shot].member]

    def _tells(self, member: int) -> bool:
        return self._examination.scale(member).tells
