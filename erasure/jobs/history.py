"""What the events of a run add up to: the numbers, curves and pictures that a page shows."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from erasure.config.settings import EraseConfig
from erasure.config.template import concept_in
from erasure.training.plan import Plan
from erasure.verdict.verdict import Verdict

MOST_POINTS = 300
# The speed is that of so many updates, so that it follows when another program begins to use the device.
_SPEED_OVER = 20
# Series of looks: in what share of its pictures a target is recognised, and how strongly the nearest words are shown.
RECOGNISED = "recognised "  # and the target behind it
KEPT = "kept"


class History:
    """The sum of a run's events, as :func:`erasure.run.events.event_to_dict` returns them, live or from a log.

    A run that is resumed from an older state makes some updates again; what was seen of these before is forgotten.
    """

    def __init__(self, *, batch: int = 1, templates: Sequence[str] = ("{}",), updates: int = 0):
        """``batch``, ``templates`` and ``updates``: as in the config of the run."""
        self.step = 0
        self.steps = updates
        self.rows = 0
        self.seconds = 0.0
        self.learning_rate = 0.0
        self.plan: Plan | None = None
        self.verdict: Verdict | None = None  # on the weights as they are: None once they are trained on
        self.notes: dict[str, None] = {}  # in order, each once
        self.drew_before = False
        self.previews: set[int] = set()
        self._series: dict[str, list[tuple[int, float]]] = {}
        self._steps: list[int] = []
        self._picks: list[tuple[str, ...]] = []  # per update
        self._counts: Counter[str] = Counter()
        self._recent: deque[tuple[int, float]] = deque(maxlen=_SPEED_OVER + 1)
        self._batch = batch
        self._templates = templates

    @classmethod
    def of(cls, config: EraseConfig) -> History:
        return cls(batch=config.batch, templates=config.templates, updates=config.updates)

    def see(self, event: Mapping[str, Any]) -> None:
        """Add an event. Raises: KeyError, TypeError, ValueError if it is no event."""
        kind = event["event"]
        if kind == "step":
            self._see_step(event)
        elif kind == "note":
            self.notes[str(event["text"])] = None
        elif kind == "planned":
            self.plan = Plan.from_dict(event["plan"])
        elif kind == "before":
            self.drew_before = True
        elif kind == "preview":
            self.previews.add(int(event["step"]))
        elif kind == "measured":
            self._add(str(event["series"]), int(event["step"]), float(event["value"]))
        elif kind == "look":
            self._see_look(event)
        elif kind == "judged":
            self.verdict = Verdict.from_dict(event["verdict"])

    def _see_step(self, event: Mapping[str, Any]) -> None:
        step, seconds = int(event["step"]), float(event["seconds"])
        losses = {"erase": float(event["erase_loss"]), "preserve": float(event["preserve_loss"])}
        self._forget_from(step)
        self.verdict = None
        # The search found the first ones; one more may follow that the user asked to preserve.
        picks = tuple(self._bare(str(text)) for text in event["preserved"][: self._batch])
        self.step, self.steps, self.rows, self.seconds = step, int(event["steps"]), int(event["rows"]), seconds
        self.learning_rate = float(event["learning_rate"])
        for series, value in losses.items():
            self._add(series, step, value)
        self._steps.append(step)
        self._picks.append(picks)
        self._counts.update(picks)
        self._recent.append((step, seconds))

    def _see_look(self, event: Mapping[str, Any]) -> None:
        # All is read before anything is kept, so that half a look never counts.
        step, kept = int(event["step"]), event["kept"]
        shares = {f"{RECOGNISED}{target}": _share(*counts) for target, counts in dict(event["recognised"]).items()}
        if kept is not None:
            shares[KEPT] = _between(float(kept))
        for series, value in shares.items():
            self._add(series, step, value)

    def _add(self, series: str, step: int, value: float) -> None:
        points = self._series.setdefault(series, [])
        while points and points[-1][0] >= step:  # measured twice after one update, or the run went back
            points.pop()
        points.append((step, value))

    def _forget_from(self, step: int) -> None:
        if not self._steps or step > self._steps[-1]:
            return
        kept = sum(past < step for past in self._steps)
        del self._steps[kept:], self._picks[kept:]
        self._series = {name: [point for point in all_ if point[0] < step] for name, all_ in self._series.items()}
        self._counts = Counter(text for picks in self._picks for text in picks)
        self._recent.clear()

    def _bare(self, prompt: str) -> str:
        """Return the concept in a prompt that a template made. If several templates fit, the longest of them counts."""
        found = (concept_in(template, prompt) for template in self._templates)
        return min((concept for concept in found if concept is not None), key=len, default=prompt)

    @property
    def series(self) -> dict[str, tuple[tuple[int, float], ...]]:
        """Points (update, value) by the name of their series; ``erase`` and ``preserve`` are the two losses.

        Looks give one named :data:`RECOGNISED` and the target for each of them, and :data:`KEPT`: shares from 0 to 1.
        Thinned evenly to at most ``MOST_POINTS`` each; the last point always stays.
        """
        return {name: _thinned(points) for name, points in self._series.items() if points}

    @property
    def picks(self) -> tuple[tuple[str, int], ...]:
        """Adversarial concepts and how often each was preserved, most often first."""
        return tuple(self._counts.most_common())

    @property
    def current_pick(self) -> str:
        """The concept preserved in the last update, "" if there is none."""
        return self._picks[-1][0] if self._picks and self._picks[-1] else ""

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training left, at the speed of the last updates; None before the first one and after the last."""
        if self.step >= self.steps:
            return None
        if len(self._recent) < 2:
            return self.seconds / self.step * (self.steps - self.step) if self.step else None
        (first, began), (last, ended) = self._recent[0], self._recent[-1]
        return max(0.0, ended - began) / (last - first) * (self.steps - self.step)


def _share(found: int, of: int) -> float:
    if of < 1:
        raise ValueError(f"{found} of {of} pictures is no share")
    return _between(found / of)


def _between(share: float) -> float:
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise ValueError(f"{share} is not between 0 and 1")
    return share


def _thinned(points: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    count = len(points)
    stride = -(-count // MOST_POINTS) or 1
    return tuple(points[(count - 1) % stride :: stride])
