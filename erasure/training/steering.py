"""Steering: short samples of the tuned model, looked at now and then, decide what is trained next, and when to end."""

from __future__ import annotations

from statistics import fmean
from typing import Any, Protocol

from torch import Tensor

from erasure.judge.scale import CUT
from erasure.spread import spread
from erasure.training.events import Look
from erasure.training.look_sizes import LOOKS_IN_A_ROW, NAME_PICTURES, NEAR_WORDS, TARGET_PICTURES, updates_between
from erasure.verdict.examination import Examination
from erasure.verdict.panel import Member


class Weights(Protocol):
    """What is trained, as tensors that can be kept and put back."""

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of them."""

    def put_back(self, weights: dict[str, Tensor]) -> None:
        """Undo :meth:`weights`."""


class Steering:
    """Looks every ``every`` updates, less often for many targets, and after the last one.

    Targets that a look found gone, with all their names, are left alone until a look finds them again. When all are
    gone in two looks in a row, training ends. The weights that are kept are those of the look that recognised the
    fewest pictures; among equals, of the look in which the nearest words were shown most strongly.
    """

    def __init__(self, weights: Weights, examination: Examination, every: int, updates: int):
        """``examination``: the pictures before are known; ``updates``: the most that are made."""
        self._weights = weights
        self._examination = examination
        self._updates = updates
        self._targets = [i for i, member in enumerate(examination.panel) if member.role == "target"]
        self._every = updates_between(every, len(self._targets))
        # A target that the model does not draw recognisably is never seen to be gone.
        self._known = [i for i in self._targets if examination.scale(i).tells]
        self._gone: set[int] = set()
        self._in_a_row = 0
        self._best: dict[str, Tensor] | None = None
        self._best_step = 0
        self._best_value = (0.0, 0.0)

    def due(self, step: int) -> bool:
        """Whether to look after this update. Never if the judge knows none of the targets."""
        return bool(self._known) and (step % self._every == 0 or step == self._updates)

    @property
    def ended(self) -> bool:
        """Whether all was gone in enough looks in a row."""
        return self._in_a_row >= LOOKS_IN_A_ROW

    @property
    def best_step(self) -> int:
        """The update whose weights are kept; 0 before the first look."""
        return self._best_step

    def worked_on(self) -> list[int]:
        """Return the targets, by number, to spend updates on: those that are not gone, or all if all are."""
        left = [n for n in range(len(self._targets)) if n not in self._gone]
        return left or list(range(len(self._targets)))

    def look(self, step: int) -> Look:
        """Look at samples of the model as it is now."""
        shots = self._shots(step)
        levels = dict(zip(shots, self._examination.look(shots), strict=True))
        panel = self._examination.panel
        recognised: dict[str, tuple[int, int]] = {}
        self._gone = set()
        for number, target in enumerate(self._targets):
            if target not in self._known:
                continue  # nothing can be said about it
            own = [levels[k] >= CUT for k in shots if self._member(k).target == number and self._is_erased(k)]
            recognised[panel[target].concept] = (sum(own), len(own))
            if not any(own):
                self._gone.add(number)
        near = [min(1.0, max(0.0, levels[k])) for k in shots if self._member(k).role == "near"]
        kept = fmean(near) if near else None
        left = sum(found for found, _ in recognised.values())
        self._in_a_row = self._in_a_row + 1 if not left else 0
        value = (-float(left), kept or 0.0)
        if self._best is None or value >= self._best_value:
            self._best, self._best_step, self._best_value = self._weights.weights(), step, value
        return Look(step, recognised, kept)

    def keep_best(self) -> int:
        """Put the best weights back; return the update that they are from, 0 if there was no look."""
        if self._best is not None:
            self._weights.put_back(self._best)
        return self._best_step

    def _shots(self, step: int) -> list[int]:
        """Return the shots to look at: the same ones every time, so that looks can be compared, but for the names."""
        panel, scale = self._examination.panel, self._examination.scale
        near = spread([i for i, member in enumerate(panel) if member.role == "near" and scale(i).tells], NEAR_WORDS)
        names = [self._name(target, step // self._every) for target in range(len(self._targets))]
        wanted = {**dict.fromkeys(names, NAME_PICTURES), **dict.fromkeys(self._targets, TARGET_PICTURES)}
        wanted.update(dict.fromkeys(near, 1))
        seen: dict[int, int] = {}
        shots = []
        for k, shot in enumerate(self._examination.shots):
            seen[shot.member] = seen.get(shot.member, 0) + 1
            if seen[shot.member] <= wanted.get(shot.member, 0):
                shots.append(k)
        return shots

    def _name(self, target: int, turn: int) -> int:
        """Return the member whose turn it is among the other names of a target; the target itself if it has none."""
        panel = self._examination.panel
        names = [i for i, member in enumerate(panel) if member.role == "name" and member.target == target]
        return names[turn % len(names)] if names else self._targets[target]

    def _member(self, shot: int) -> Member:
        return self._examination.panel[self._examination.shots[shot].member]

    def _is_erased(self, shot: int) -> bool:
        return self._member(shot).role in ("target", "name")

    # --- the state

    def tensors(self) -> dict[str, Tensor]:
        """The best weights so far."""
        return dict(self._best or {})

    def meta(self) -> dict[str, Any]:
        """The rest of the state as plain values."""
        return {
            "gone": sorted(self._gone),
            "in_a_row": self._in_a_row,
            "best_step": self._best_step,
            "best_value": list(self._best_value),
            "updates": self._updates,
        }

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Undo :meth:`tensors` and :meth:`meta`.

        If more updates are wanted now than then, what looks had found was not enough: they begin afresh.
        """
        if self._updates > meta.get("updates", self._updates):
            return
        self._best = {name: tensor.clone() for name, tensor in tensors.items()} or None
        self._gone, self._in_a_row = set(meta["gone"]), meta["in_a_row"]
        self._best_step = meta["best_step"]
        left, kept = meta["best_value"]
        self._best_value = (left, kept)

    def move(self, device: Any) -> None:
        """Move what it holds besides the model."""
        if self._best is not None:
            self._best = {name: tensor.to(device) for name, tensor in self._best.items()}
