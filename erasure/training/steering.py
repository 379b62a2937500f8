"""Steering: short samples of the tuned model, looked at now and then, decide what is trained next, and when to end."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, Protocol

from torch import Tensor

from erasure.judge.scale import CUT
from erasure.model.conditioning import Prompt
from erasure.training.best_weights import BestWeights, Weights, Worth
from erasure.training.defence.sizes import FIRST_LOOK, SECOND_LOOK
from erasure.training.events import Look
from erasure.training.look_shots import Kind, LookShots
from erasure.training.look_sizes import (
    GONE,
    GONE_AT_FIRST,
    LOOKS_IN_A_ROW,
    fewest_updates_between,
    second_look,
    updates_before_look,
    updates_between,
    updates_until_gone,
)
from erasure.verdict.examination import Examination


class Hostile(Protocol):
    """What knows prompts that bring a target back; see :class:`erasure.training.defence.defence.Defence`."""

    def worst(self, target: int, template: str, count: int) -> list[Prompt]:
        """Return at most ``count`` of them, the worst first."""


class Steering:
    """Looks at samples every ``every`` updates, less often while many targets are worked on, and after the last update.

    When all that was looked at is gone, a second look at once takes other pictures and more of the other names. If they
    are gone as well, training ends. Where all was gone in samples of the edit that training starts from, they stand in
    for a first look, and one look after some updates decides, which takes as many hostile prompts as a second. A look
    that finds the strongest picture about to go brings the next one forward, so that training does not go on for long
    after the target is gone: most of the harm to other concepts comes then.

    Targets that a look found gone, with their names, are left alone until a second look finds them again. Training ends
    with the weights of the best look, see :class:`BestWeights`.
    """

    def __init__(
        self, weights: Weights, examination: Examination, every: int, updates: int, hostile: Hostile | None = None
    ):
        """``examination``: the pictures before are known; ``updates``: the most that are made.

        ``hostile``: prompts that looks take as well, of which none may show the target.
        """
        self._hostile = hostile
        self._examination = examination
        self._updates = updates
        self._shots = LookShots(examination)
        self._targets = self._shots.targets
        self._every = every
        self._gone: set[int] = set()
        self._names_left: set[int] = set()  # targets whose own pictures are gone, but not those of another name
        self._hostile_left: set[int] = set()  # targets that are gone but for hostile prompts
        self._in_a_row = 0
        # Of targets and names: whether they were gone in the last samples of them.
        self._sampled: dict[int | str, bool] = {}
        self._gone_at_start = False  # by samples, and not found otherwise by the look since
        self._turn = 0  # of the names
        self._looked = 0  # the update after which the last look was
        self._next = updates_before_look(every, len(self._targets), edited=False)
        self._level = 1.0  # of the strongest picture in the last first look
        self._best = BestWeights(weights)

    def due(self, step: int) -> bool:
        """Whether to look now, after this update. Never if the judge knows none of the targets."""
        if not self.known or not step or self.ended:
            return False
        if self._looked == step:
            return self._in_a_row == 1  # the second look
        return step >= self._next or step == self._updates

    @property
    def ended(self) -> bool:
        """Whether all was gone in enough looks in a row."""
        return self._in_a_row >= LOOKS_IN_A_ROW

    @property
    def why_ended(self) -> str:
        """What looks found, once they have ended the training."""
        found = "right after the edit, and in a look since" if self._gone_at_start else "in two looks in a row"
        return f"all that is to be erased was gone {found}"

    @property
    def best_step(self) -> int:
        """The update whose weights are kept; 0 before the first look."""
        return self._best.step

    def worked_on(self) -> list[int]:
        """Return the targets, by number, to spend updates on: those that are not gone, or all if all are."""
        left = [n for n in range(len(self._targets)) if n not in self._gone]
        return left or list(range(len(self._targets)))

    def names_left(self, target: int) -> bool:
        """Whether a target, given by number, was gone in the last look, but not in pictures of its other names."""
        return target in self._names_left

    def hostile_left(self, target: int) -> bool:
        """Whether a target, given by number, was gone in the last look, but not in pictures of hostile prompts."""
        return target in self._hostile_left

    def before(self) -> Look:
        """Return what a first look sees before anything was trained. Nothing is drawn for it, and nothing noted."""
        shots = self._shots.of_look(self.known, 0, "first")
        levels = dict(zip(shots, self._examination.levels_before(shots), strict=True))
        recognised = {}
        for number in self.known:
            own, names = self._seen(number, levels)
            recognised[self._concept(number)] = _recognised(own + names)
        return Look(0, recognised, self._kept(levels))

    def look(self, step: int) -> Look:
        """Look at samples of the model as it is now."""
        second = self._looked == step
        kind: Kind = "second" if second else "sole" if self._gone_at_start else "first"
        # Of what was gone before, a first look takes nothing unless all was.
        about = [n for n in self.known if second or n not in self._gone or len(self._gone) == len(self.known)]
        shots = self._shots.of_look(about, self._turn, kind)
        levels = dict(zip(shots, self._examination.look(shots), strict=True))
        recognised: dict[str, tuple[int, int]] = {}
        erased: list[float] = []
        found = set(self.known) - set(about)
        names_left: set[int] = set()
        hostile_left: set[int] = set()
        for number in about:
            own, names = self._seen(number, levels)
            hostile = self._hostile_levels(number, kind)
            seen = own + names + hostile
            recognised[self._concept(number)] = _recognised(seen)
            erased += seen
            if not _are_gone(own, GONE_AT_FIRST if kind == "first" else GONE):
                continue
            if any(level >= CUT for level in names):
                names_left.add(number)
            else:
                (hostile_left if any(level >= CUT for level in hostile) else found).add(number)
        self._gone = self._gone & found if second else found
        self._names_left, self._hostile_left = names_left, hostile_left
        kept = self._kept(levels)
        all_gone = len(found) == len(self.known)
        left = (-sum(level >= CUT for level in erased), -sum(level > GONE for level in erased))
        if second:
            self._second(left, all_gone)
        else:
            self._first(Worth(*left, kept or 0.0), max(erased), step, all_gone)
            self._gone_at_start = self._gone_at_start and all_gone
        return Look(step, recognised, kept)

    @property
    def known(self) -> list[int]:
        """The targets, by number, that the judge knows."""
        return self._shots.known

    def known_names(self) -> dict[str, int]:
        """Return the other names that the model draws recognisably, and the number of the target of each."""
        panel = self._examination.panel
        return {panel[i].concept: number for number in self.known for i in self._shots.names(number)}

    def levels(self, targets: Collection[int], names: Collection[str]) -> tuple[dict[int, float], dict[str, float]]:
        """Return how strongly targets, by number, and names are shown now: 1 as before, 0 not at all.

        The mean over as many pictures of a target as a second look takes, and over one of a name. This is no look: it
        is only noted what is gone, for :meth:`look_soon`.
        """
        members = {member.concept: i for i, member in enumerate(self._examination.panel)}
        most = second_look(len(self._targets)).pictures
        own = [self._shots.of(self._targets[number])[-most:] for number in targets]
        others = [self._shots.of(members[name])[0] for name in names]
        wanted = [*(k for pictures in own for k in pictures), *others]
        found = dict(zip(wanted, self._examination.look(wanted), strict=True)) if wanted else {}
        gone = [_are_gone([found[k] for k in pictures], GONE) for pictures in own]
        self._sampled.update(zip(targets, gone, strict=True))
        self._sampled.update({name: found[k] < CUT for name, k in zip(names, others, strict=True)})
        return (
            {n: fmean(min(1.0, found[k]) for k in pictures) for n, pictures in zip(targets, own, strict=True)},
            {name: found[k] for name, k in zip(names, others, strict=True)},
        )

    def look_soon(self) -> None:
        """Bring the first look forward as far as any can be, where little is left to do from the start."""
        everything: list[int | str] = [*self.known, *self.known_names()]
        self._gone_at_start = all(self._sampled.get(each, False) for each in everything)
        self._next = updates_before_look(self._every, len(self._targets), edited=True)

    def _concept(self, target: int) -> str:
        return self._examination.panel[self._targets[target]].concept

    def _seen(self, target: int, levels: Mapping[int, float]) -> tuple[list[float], list[float]]:
        """Return the levels, given by shot, of a target's own pictures and of those of its other names."""
        own = [levels[k] for k in self._shots.of(self._targets[target]) if k in levels]
        names = [levels[k] for name in self._shots.names(target) for k in self._shots.of(name) if k in levels]
        return own, names

    def _kept(self, levels: Mapping[int, float]) -> float | None:
        """Return how strongly the near words among the shots are shown; None if there is none."""
        near = [min(1.0, max(0.0, level)) for k, level in levels.items() if self._shots.member(k).role == "near"]
        return fmean(near) if near else None

    def _first(self, worth: Worth, level: float, step: int, all_gone: bool) -> None:
        """Note what a first look found."""
        self._best.note(worth, step)
        # Where only hostile prompts are left, little is: what more training takes, others lose.
        only_hostile = bool(self._hostile_left) and not set(self.worked_on()) - self._hostile_left
        more = 0.0 if only_hostile else updates_until_gone(step - self._looked, self._level, level)
        soonest, latest = (
            between(self._every, len(self.worked_on())) for between in (fewest_updates_between, updates_between)
        )
        self._next = step + math.ceil(min(max(more, soonest), latest))
        self._looked, self._level = step, level
        self._in_a_row = all_gone * (LOOKS_IN_A_ROW if self._gone_at_start else 1)
        self._turn += 1

    def _second(self, left: tuple[int, int], all_gone: bool) -> None:
        """Note what a second look found, at the weights that the first one kept as the best."""
        self._in_a_row = LOOKS_IN_A_ROW if all_gone else 0
        if not all_gone:  # little is left, and hardly anything if no picture was recognised
            between = updates_between if left[0] else fewest_updates_between
            self._next = min(self._next, self._looked + between(self._every, len(self.worked_on())))
        self._best.correct(*left, self._looked)

    def keep_best(self) -> int:
        """Put the best weights back; return the update that they are from, 0 if there was no look."""
        return self._best.put_back()

    def _hostile_levels(self, target: int, kind: Kind) -> list[float]:
        """Draw and judge the worst hostile prompts of a target, by number."""
        if self._hostile is None:
            return []
        member = self._targets[target]
        shot = next(s for s in self._examination.shots if s.member == member)
        worst = self._hostile.worst(target, shot.template, FIRST_LOOK if kind == "first" else SECOND_LOOK)
        return self._examination.look_at(worst, shot, other_seed=kind == "second") if worst else []

    # --- the state

    def tensors(self) -> dict[str, Tensor]:
        """The best weights so far."""
        return self._best.tensors()

    def meta(self) -> dict[str, Any]:
        """The rest of the state as plain values."""
        return {
            "gone": sorted(self._gone),
            "names_left": sorted(self._names_left),
            **({"hostile_left": sorted(self._hostile_left)} if self._hostile is not None else {}),
            "in_a_row": self._in_a_row,
            **({"gone_at_start": True} if self._gone_at_start else {}),
            "turn": self._turn,
            "looked": self._looked,
            "next": self._next,
            "level": self._level,
            **self._best.meta(),
            "updates": self._updates,
        }

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Undo :meth:`tensors` and :meth:`meta`.

        If more updates are wanted now than then, what looks had found was not enough: they begin afresh.
        """
        if self._updates > meta.get("updates", self._updates):
            return
        self._best.load(tensors, meta)
        self._gone, self._in_a_row = set(meta["gone"]), meta["in_a_row"]
        self._gone_at_start = meta.get("gone_at_start", False)
        self._names_left = set(meta["names_left"])
        self._hostile_left = set(meta.get("hostile_left", ()))
        self._turn, self._looked, self._next = meta["turn"], meta["looked"], meta["next"]
        self._level = meta["level"]

    def move(self, device: Any) -> None:
        """Move what it holds besides the model."""
        self._best.move(device)


def _recognised(levels: Sequence[float]) -> tuple[int, int]:
    """Return in how many pictures a target is recognised, and of how many."""
    return sum(level >= CUT for level in levels), len(levels)


def _are_gone(levels: Sequence[float], most: float) -> bool:
    """Whether none of these pictures is recognised, and their mean level is at most ``most``."""
    return not levels or (max(levels) < CUT and fmean(levels) <= most)
