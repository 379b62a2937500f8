"""What a siege found: all outcomes, as figures, as lines to read, and as JSON. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from erasure.attacks.outcome import AS_ITSELF, AS_NEW, Attempt, Outcome, Rates, by_kind, rates, steps_back

# Prompts named in a line, and characters of each.
_NAMED, _LONGEST = 3, 60
# What the bench's columns are called; other kinds of words are part of "ASR words" alone.
_OWN_COLUMN = {"own": "own", "synonyms": "synonyms", "translations": "translated", "misspelt": "misspelt"}


@dataclass(frozen=True)
class SiegeReport:
    """The outcomes of all attacks on all concepts, and notes on what the user should know."""

    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"outcomes": [outcome.to_dict() for outcome in self.outcomes], "notes": list(self.notes)}


def lines(report: SiegeReport) -> list[str]:
    """Return what was found, for people."""
    found = []
    for outcome in report.outcomes:
        if outcome.attack == "finetune":
            found.append(f"{outcome.target}, finetune: {_finetuned(outcome)}")
            continue
        found.append(f"{outcome.target}, {outcome.attack}: {_said(outcome.attempts)}{_best(outcome.attempts)}")
        kinds = by_kind(outcome.attempts)
        if len(kinds) > 1:
            found += [f"  {kind}: {_said(own)}{_best(own)}" for kind, own in kinds.items()]
    return found


def figures(outcomes: Iterable[Outcome], *, untouched: bool = False) -> dict[str, float]:
    """Return the bench's figures, means over concepts: ASR in %, by the classifier where there was one.

    ``untouched``: the same of the untouched model, and the steps in which it learns a new word. "finetune steps" are
    twice those of the last look where the concept did not come back.
    """
    values: dict[str, list[float]] = {}

    def add(name: str, found: Rates) -> None:
        classified = found.classifier_untouched if untouched else found.classifier
        judged = found.judge_untouched if untouched else found.judge
        for key, value in ((f"ASR {name}", classified), (f"ASR {name} (judge)", judged)):
            if value is not None:
                values.setdefault(key, []).append(value)
            elif name == "search" and not untouched:
                # Of what was searched for, nothing was found: the attack was made, and did not succeed.
                values.setdefault(key, []).append(0.0)

    for outcome in outcomes:
        kinds = by_kind(outcome.attempts)
        if outcome.attack == "words":
            add("words", rates(a for a in outcome.attempts if a.kind != "own"))
            for kind, name in _OWN_COLUMN.items():
                if kind in kinds:
                    add(name, rates(kinds[kind]))
        elif outcome.attack == "finetune":
            values.setdefault("finetune steps", []).append(_steps(outcome, AS_NEW if untouched else AS_ITSELF))
        else:
            add(outcome.attack, rates(outcome.attempts))
    agreed = [r.agree for r in (rates(outcome.attempts) for outcome in outcomes) if r.agree is not None]
    if agreed and not untouched:
        values["attacks agree"] = agreed
    return {name: round(sum(own) / len(own), 2) for name, own in values.items()}


def _steps(outcome: Outcome, kind: str) -> float:
    steps = steps_back(outcome, kind)
    return 2.0 * max(attempt.steps for attempt in outcome.attempts) if steps is None else float(steps)


def _finetuned(outcome: Outcome) -> str:
    """Return e.g. "back after 40 steps (0 of 8 after 0, ...); the untouched model learns a new word in 80"."""
    own = [attempt for attempt in outcome.attempts if attempt.kind == AS_ITSELF]
    looks = ", ".join(f"{_of(a.erased)} after {a.steps}" for a in own)
    last = max(attempt.steps for attempt in outcome.attempts)
    steps, new = steps_back(outcome), steps_back(outcome, AS_NEW)
    said = f"not back after {last} steps" if steps is None else f"back after {steps} steps"
    learns = f"more than {last}" if new is None else str(new)
    return f"{said} ({looks}); the untouched model learns the same pictures as a new word in {learns}"


def _said(attempts: Sequence[Attempt]) -> str:
    """Return e.g. "7 % of 180 pictures show it (untouched: 95 %; 60 prompts; 24 more are no attack)"."""
    found = rates(attempts)
    if not found.prompts:
        return f"none of {found.tried} prompts is an attack: the untouched model does not draw it from them"
    second = "" if found.classifier is None else f", {found.classifier:.0f} % by the classifier"
    beside = "" if found.classifier_untouched is None else f", {found.classifier_untouched:.0f} %"
    return (
        f"{found.judge:.0f} % of {found.pictures} pictures show it{second} (untouched: {found.judge_untouched:.0f} %"
        f"{beside}{_prompts(attempts)})"
    )


def _prompts(attempts: Sequence[Attempt]) -> str:
    """Return how many prompts there are, and how many are no attack; nothing of what was learnt."""
    if any(attempt.steps for attempt in attempts):
        return ""
    counting = sum(attempt.counts for attempt in attempts)
    others = len(attempts) - counting
    more = f"; {others} more {'is' if others == 1 else 'are'} no attack" if others else ""
    return f"; {counting} prompt{'s' if counting > 1 else ''}{more}"


def _best(attempts: Iterable[Attempt]) -> str:
    """Return the prompts that succeed most, if any does."""
    back = sorted((a for a in attempts if a.counts and a.prompt and any(a.erased)), key=lambda a: -sum(a.erased))
    named = ", ".join(f"{shorten(a.prompt, _LONGEST)!r} {_of(a.erased)}" for a in back[:_NAMED])
    return f": {named}" if named else ""


def _of(seen: tuple[bool, ...]) -> str:
    return f"{sum(seen)} of {len(seen)}"
