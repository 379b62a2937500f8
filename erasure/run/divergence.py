"""Whether training left the model worse than it began, and what to change. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from erasure.config.settings import EraseConfig, settings
from erasure.verdict.verdict import Verdict

# The loss of one update says little, since it is of one noise and one concept: medians of so many are compared.
_WINDOW = 10
# In sound runs on emoji-SD the last losses were up to 1.4 times the first, and never above 2.5 times.
_WORSE = 5.0
# A target that the model hardly knows begins with almost no loss, of which nothing is a multiple.
_LEAST_LOSS = 0.02
# The other words, most of them not near: if fewer of their pictures are left, all pictures changed.
_LEFT = 0.25
_LEAST_PICTURES = 4  # to say that


def divergence(config: EraseConfig, events: Iterable[Mapping[str, Any]], verdict: Verdict | None) -> str:
    """Return in a few words how a run got worse than it began; "" if it did not.

    ``events``: those of its log. Pictures decide, since the weights that are kept need not be the last; where they tell
    nothing, the losses do.
    """
    by_pictures = _pictures_lost(verdict) if verdict is not None else None
    if by_pictures is not None:
        return by_pictures
    steps = {event["step"]: event for event in events if event.get("event") == "step"}
    losses = [
        float(steps[step]["erase_loss"]) + config.preserve_weight * float(steps[step]["preserve_loss"])
        for step in sorted(steps)
    ]
    if len(losses) < 2 * _WINDOW:
        return ""
    first, last = median(losses[:_WINDOW]), median(losses[-_WINDOW:])
    # Not "above", so that a loss that is no number counts as well.
    if last <= _WORSE * max(first, _LEAST_LOSS):
        return ""
    return f"the loss rose from {first:.3g} to {last:.3g}"


def diverged_before(config: EraseConfig, events: Iterable[Mapping[str, Any]], *, longer: bool) -> str:
    """Return :func:`divergence` of a run that is over, and "" for one that would make updates if it were resumed.

    ``config``: with which it would be resumed; ``longer``: its number of updates was given anew.
    """
    events = list(events)
    steps = [i for i, event in enumerate(events) if event.get("event") == "step"]
    judged = [i for i, event in enumerate(events) if event.get("event") == "judged"]
    if not steps or config.updates <= 1:
        return ""
    try:
        step = int(events[steps[-1]]["step"])
        if longer and step < config.updates:
            return ""
        if config.judged_words:
            # Looks may have ended it early.
            ended = bool(judged) and judged[-1] > steps[-1]
            verdict = Verdict.from_dict(events[judged[-1]]["verdict"]) if ended else None
        else:
            ended, verdict = step >= config.updates, None
        return divergence(config, events, verdict) if ended else ""
    except (KeyError, TypeError, ValueError, OverflowError):
        return ""  # a log that was edited: the run itself will tell


def remedy(config: EraseConfig) -> dict[str, Any]:
    """Return the settings to change after training diverged, with values that let it diverge less."""
    usual = {name: about.default for name, about in settings().items()}
    change: dict[str, Any] = {"learning_rate": float(f"{config.learning_rate / 4:.2g}")}
    # After the first updates the pace alone decides on the rate.
    change["pace"] = float(f"{config.pace / 4:.2g}") if config.pace else usual["pace"]
    if not 0 < config.clip <= usual["clip"]:
        change["clip"] = usual["clip"]
    if config.guidance > usual["guidance"]:
        change["guidance"] = usual["guidance"]
    if config.precision == "fp16":
        change["precision"] = "bf16"
    return change


def advice(config: EraseConfig) -> str:
    """Return :func:`remedy` in words."""
    more = {
        "learning_rate": f" instead of {config.learning_rate:g}",
        "pace": f" instead of {config.pace:g}" if config.pace else ", which adapts the learning rate",
        "precision": " or fp32",
    }
    change = [
        f"{name} {value if isinstance(value, str) else format(value, 'g')}{more.get(name, '')}"
        for name, value in remedy(config).items()
    ]
    return " and ".join([", ".join(change[:-1]), change[-1]]) if len(change) > 1 else change[0]


def _pictures_lost(verdict: Verdict) -> str | None:
    """Return that hardly any picture of other things is left, or ""; None if too few are known to say."""
    near, unrelated = verdict.of("near"), verdict.of("unrelated")
    if sum(finding.before for finding in unrelated) < _LEAST_PICTURES or len(unrelated) < 2:
        return None
    shown = []
    for findings in (near, unrelated):
        before, after = (sum(getattr(finding, when) for finding in findings) for when in ("before", "after"))
        if after > _LEFT * before:
            return ""
        shown.append(f"{after} of {before}")
    return f"pictures of everything changed: of the nearest words {shown[0]} are left, of unrelated ones {shown[1]}"
