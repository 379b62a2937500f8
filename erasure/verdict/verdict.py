"""The verdict on an erasure as data, and in words. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal, get_args

from erasure.judge.scale import SAME_SHARE
from erasure.number_of import number_of

Role = Literal["target", "name", "near", "unrelated"]
"""``target``: a concept to erase; ``name``: another name of one, erased along; ``near``: one of the protected words
nearest to it; ``unrelated``: a word that has nothing to do with any."""

# A word is kept if it is recognised in at least this share of the pictures in which it was recognised before.
KEPT_SHARE = 0.5


@dataclass(frozen=True)
class Finding:
    """What was found about one concept.

    ``before`` and ``after``: in how many of its ``pictures`` it was recognised, drawn without and with the LoRA from
    the same noise. ``strength``: how strongly the pictures after show it on average, 1 as before, 0 as pictures of
    other things do. ``moved``: how far its latents moved, in spreads (1: as far apart as any two pictures).
    ``as_target``: in how many of the pictures before the target was recognised, too. ``score_before``, ``score_after``:
    mean scores of the pictures, as :mod:`erasure.judge.scores` has them, on no scale that models share.
    """

    concept: str
    role: Role
    target: str  # "" for an unrelated word
    pictures: int
    before: int
    after: int
    strength: float
    moved: float
    as_target: int = 0
    score_before: float = 0.0
    score_after: float = 0.0

    @property
    def known(self) -> bool:
        """Whether the model without the LoRA draws it recognisably. If not, nothing can be said about it."""
        return self.before > 0

    @property
    def kept(self) -> bool:
        return self.after >= KEPT_SHARE * self.before

    @property
    def drawn_as_target(self) -> bool:
        """Whether the model without the LoRA draws it as the target, so that one cannot go without the other."""
        return self.as_target > SAME_SHARE * self.pictures


@dataclass(frozen=True)
class Verdict:
    """All findings after ``step`` updates; None: of a file whose training is not known."""

    findings: tuple[Finding, ...]
    step: int | None = None

    def of(self, *roles: Role) -> tuple[Finding, ...]:
        """Return the findings of these roles that something can be said about."""
        return tuple(f for f in self.findings if f.role in roles and f.known)

    @property
    def left(self) -> tuple[Finding, ...]:
        """Return the targets and their names that are still recognised in a picture, the strongest first."""
        left = [f for f in self.of("target", "name") if f.after]
        return tuple(sorted(left, key=lambda f: f.after / f.pictures, reverse=True))

    @property
    def gone(self) -> bool:
        """Whether no picture shows a target or one of its names any more. False if the model knows no target."""
        return bool(self.of("target")) and not self.left

    @property
    def hurt(self) -> tuple[Finding, ...]:
        """Return near and unrelated words that were not kept, the worst hurt first."""
        return tuple(f for f in self.worst if not f.kept)

    @property
    def worst(self) -> tuple[Finding, ...]:
        """Return near and unrelated words, those hurt most first."""
        return tuple(sorted(self.of("near", "unrelated"), key=lambda f: (f.after / f.before, f.strength)))

    @property
    def kept_share(self) -> float | None:
        """Return the share of the near words that were kept; None if none is known."""
        near = self.of("near")
        return sum(f.kept for f in near) / len(near) if near else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"step": self.step, "findings": [asdict(finding) for finding in self.findings]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """Undo :meth:`to_dict`; the values may come from a file that anyone can edit.

        Raises: KeyError, TypeError, ValueError.
        """
        step = values["step"]
        return cls(tuple(_finding(row) for row in values["findings"]), None if step is None else _count_of(step))


def stated_verdict(values: Mapping[str, Any] | None) -> Verdict | None:
    """Return the verdict that a file states, as plain JSON types; None without one, or if it is not whole.

    Anyone can edit a file.
    """
    try:
        return None if values is None else Verdict.from_dict(values)
    except (KeyError, TypeError, ValueError):
        return None


def _finding(row: Mapping[str, Any]) -> Finding:
    role = row["role"]
    if role not in get_args(Role):
        raise ValueError(f"{role!r} is not a role of a finding")
    pictures, before, after, as_target = (_count_of(row[key]) for key in ("pictures", "before", "after", "as_target"))
    measured = [float(row[key]) for key in ("strength", "moved", "score_before", "score_after")]
    if pictures < 1 or max(before, after, as_target) > pictures:
        raise ValueError(f"{before}, {after} and {as_target} of {pictures} pictures is impossible")
    if not all(map(isfinite, measured)):
        raise ValueError(f"{measured} must be finite")
    strength, moved, *scores = measured
    concept, target = str(row["concept"]), str(row["target"])
    return Finding(concept, role, target, pictures, before, after, strength, moved, as_target, *scores)


def _count_of(value: Any) -> int:
    # Not int(): it raises OverflowError for infinity, which JSON files can hold.
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a number of pictures or updates")
    return value


def lines(verdict: Verdict) -> list[str]:
    """Return the verdict in words: what is left of each target, its names, what was kept, and what was hurt most."""
    said = [_target_line(finding) for finding in verdict.findings if finding.role == "target"]
    names, near, unrelated = verdict.of("name"), verdict.of("near"), verdict.of("unrelated")
    if names:
        said.append(f"Its other names: {_count(names)}." if len(said) == 1 else f"Other names: {_count(names)}.")
    if near:
        kept = sum(finding.kept for finding in near)
        text = f"Kept: {kept} of the {number_of(len(near), 'nearest word')}"
        worst = next((finding for finding in verdict.worst if finding.role == "near"), None)
        if worst is not None and worst.after < worst.before:
            text += f"; hurt most: {worst.concept} ({worst.after} of {worst.before})"
        said.append(text + ".")
    if unrelated:
        said.append(f"Unrelated: {_count(unrelated)}.")
    same = [finding.concept for finding in verdict.findings if finding.role == "near" and finding.drawn_as_target]
    if same:
        said.append(f"Drawn as the target before, so that both cannot be had: {', '.join(same)}.")
    return said


def hurt_line(verdict: Verdict) -> str:
    """Return all words that were not kept by name, the worst hurt first; "" if there are none."""
    hurt = [f"{finding.concept} ({finding.after} of {finding.before})" for finding in verdict.hurt]
    return f"Hurt: {', '.join(hurt)}." if hurt else ""


def told_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return plain JSON types: the findings, and what follows from them."""
    return {
        **verdict.to_dict(),
        "gone": verdict.gone,
        "left": [finding.concept for finding in verdict.left],
        "hurt": [finding.concept for finding in verdict.hurt],
        "kept_share": verdict.kept_share,
        "lines": lines(verdict),
    }


def _target_line(finding: Finding) -> str:
    if not finding.known:
        return f"{finding.concept}: the model does not draw it recognisably, so nothing can be said about it."
    before = f"{finding.before} of {finding.pictures} before"
    return f"{finding.concept}: recognised in {finding.after} of {finding.pictures} pictures ({before})."


def _count(findings: Sequence[Finding]) -> str:
    return f"{sum(finding.after for finding in findings)} of {sum(finding.before for finding in findings)}"
