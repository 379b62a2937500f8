"""How strong the edit that training starts from has to be: measured on the model at hand.

The edit weighs what goes against what stays. So it stops short of its goal, on one model sooner than on another,
and for one target sooner than for another. It is made stronger as a whole first, then for those targets and other names
that short samples still show clearly, so that little is left for training.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, Protocol

from erasure.judge.scale import CUT
from erasure.training.closed_start_sizes import ROUNDS, STRENGTHS
from erasure.training.text_start_sizes import TEXT_STRENGTHS


class Limits(NamedTuple):
    """``strengths``: that the whole edit is given in turn. ``enough``: of what the pictures showed of the targets
    before, this share is hardly anything. ``shown``: a target that is shown more than this is moved farther; what is
    left of others is for training. ``farthest``: beyond this, more costs other concepts more than training does.
    ``blind``: where no samples tell: as much as most targets need, with a few updates after it.
    """

    strengths: tuple[float, ...]
    enough: float
    shown: float
    farthest: float
    blind: float


# Of the closed form, where the least that does it is best, and of text encoders, where more hardly costs anything.
OF_CLOSED_FORM = Limits(STRENGTHS, enough=0.08, shown=0.12, farthest=1.75, blind=STRENGTHS[1])
OF_TEXT = Limits(TEXT_STRENGTHS, enough=0.04, shown=0.08, farthest=2.1, blind=TEXT_STRENGTHS[1])
# How much farther a target is moved in each round; a name that is still recognised weighs so many times as much.
FARTHER, HEAVIER = 0.25, 3.0


class Edit(Protocol):
    """See :class:`erasure.training.closed_start.ClosedStart` and :class:`erasure.training.text_start.TextStart`."""

    def strengthen(self, strength: float) -> None: ...

    def strengthen_targets(self, more: Mapping[int, float]) -> None: ...

    def weigh_names(self, names: Mapping[str, int], times: float) -> None: ...


class Samples(Protocol):
    """See :class:`erasure.training.steering.Steering`."""

    @property
    def known(self) -> Collection[int]: ...

    def levels(self, targets: Collection[int], names: Collection[str]) -> tuple[dict[int, float], dict[str, float]]: ...

    def known_names(self) -> dict[str, int]: ...


class Strength(NamedTuple):
    """What was found. ``strengths``: by the number of the target; ``whole``: of the edit as a whole.

    ``names``: those that weigh more; ``levels``: how strongly pictures show each target in the end: 1 as before, 0 not
    at all.
    """

    whole: float
    strengths: dict[int, float]
    names: tuple[str, ...]
    levels: dict[int, float]

    @property
    def unseen(self) -> bool:
        """Whether no target is recognised any more."""
        return all(level < CUT for level in self.levels.values())

    def told(self, targets: Sequence[str]) -> str:
        """Say it as the end of a sentence. ``targets``: all of them, in order."""
        parts = [f"{targets[n]} at {strength:g}" for n, strength in self.strengths.items() if strength > self.whole]
        parts += [f"{name} weighs more" for name in self.names]
        apart = f" ({', '.join(parts)})" if parts else ""
        left = max(0.0, 100 * fmean(self.levels.values()))
        return (
            f"{self.whole:g} times its strength{apart}: pictures of what is erased then show {left:.0f} % of what they "
            "showed of it"
        )


def find_strength(
    edit: Edit, put: Callable[[], Iterator[float]], samples: Samples, limits: Limits = OF_CLOSED_FORM
) -> Generator[float, None, Strength]:
    """Make ``edit`` as strong as it must be and no stronger, and return how strong that is.

    ``put``: puts the edit in place as it is now, yielding the share that is done; so does this.
    """
    targets = samples.known
    whole, levels = yield from _whole(edit, put, samples, targets, limits)
    strengths = dict.fromkeys(targets, whole)
    owners = samples.known_names()
    weighed: dict[str, None] = {}
    _, shown = samples.levels((), owners)
    for _ in range(ROUNDS):
        farther = {
            target for target in targets if levels[target] > limits.shown and strengths[target] < limits.farthest
        }
        # A name goes with its target, as far as that has to be moved anyway.
        heavier = {name for name, level in shown.items() if level >= CUT and owners[name] not in farther}
        if not (farther or heavier):
            break
        edit.strengthen_targets(dict.fromkeys(sorted(farther), FARTHER))
        edit.weigh_names({name: owners[name] for name in sorted(heavier)}, HEAVIER)
        weighed |= dict.fromkeys(sorted(heavier))
        yield from put()
        for target in farther:
            strengths[target] += FARTHER
        again = {name for name, level in shown.items() if level >= CUT}
        found, names = samples.levels(sorted(farther), sorted(again))
        levels, shown = levels | found, names
    return Strength(whole, strengths, tuple(weighed), levels)


def _whole(
    edit: Edit,
    put: Callable[[], Iterator[float]],
    samples: Samples,
    targets: Collection[int],
    limits: Limits,
) -> Generator[float, None, tuple[float, dict[int, float]]]:
    """Return the least of the strengths with which hardly anything is left, else the greatest, and the levels."""
    for strength in limits.strengths:
        edit.strengthen(strength)
        yield from put()
        levels, _ = samples.levels(targets, ())
        if fmean(max(0.0, level) for level in levels.values()) <= limits.enough:
            break
    return strength, levels
