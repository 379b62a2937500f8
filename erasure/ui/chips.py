"""Concepts to protect, before training: what will go with the target, and what will stay, as chips to move about.

Three actions, each with the concept's text as its value:
``chip-erase`` it goes too (add it to ``synonym``, take it out of ``preserve``), ``chip-protect`` always protect it
(add it to ``preserve``, take it out of ``synonym``), ``chip-auto`` let the measurement decide (take it out of both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from erasure.ui.html import box, button, empty_html, icon, more, notes_html, text

SHOWN = 24


class Chip(NamedTuple):
    """``row`` is what was measured, None for a concept that was named by hand."""

    word: str
    row: Mapping[str, Any] | None
    action: str
    does: str


def chips_html(
    space: Mapping[str, Any] | None,
    synonym: Sequence[str] = (),
    preserve: Sequence[str] = (),
    *,
    erase_synonyms: bool = True,
    stale: bool = False,
) -> str:
    """``space`` as ConceptSpace.to_dict() gives it; ``synonym`` and ``preserve`` are the user's lists as they are now,
    and win over what ``space`` says. ``stale``: the form was changed since it was measured.
    """
    if space is None:
        return empty_html(
            "See what lies near the concept before anything is trained.",
            "It takes seconds: press “Look around”, then move what should go or stay with a click.",
        )
    moved = {*synonym, *preserve}
    placed: set[str] = set()
    parts = []
    several = len(space["targets"]) > 1
    for target in space["targets"]:
        going = _going(target, synonym, moved, erase_synonyms)
        placed.update(chip.word for chip in going)
        kept = [
            Chip(row["text"], row, "chip-erase", "click to let it go too")
            for row in target["preserved"]
            if row["text"] not in moved
        ]
        parts.append(_target(target, going, kept, several, erase_synonyms))
    loose = [Chip(word, None, "chip-auto", "click to undo") for word in dict.fromkeys(synonym) if word not in placed]
    if loose:
        parts.append(_group("erase", "fade", "Will go too", "named by you", loose, keep="chips-named"))
    always = [
        Chip(word, None, "chip-auto", "always protected; click to undo")
        for word in dict.fromkeys(preserve)
        if word not in synonym
    ]
    parts.append(
        _group("always", "lock", "Always protected", "whatever the search finds", always, keep="chips-always")
        if always
        else ""
    )
    old = notes_html(["The settings have changed since; look again to see what lies near now."]) if stale else ""
    return box("chips", old, *parts, notes_html(space.get("notes", ())))


def _going(target: Mapping[str, Any], synonym: Sequence[str], moved: set[str], erase_synonyms: bool) -> list[Chip]:
    """Measured synonyms that the user did not move away, and what the user moved here."""
    rows = {row["text"]: row for row in (*target["synonyms"], *target["preserved"])}
    told = [word for word in dict.fromkeys(synonym) if word in rows or word in target.get("told", ())]
    chips = [Chip(word, rows.get(word), "chip-auto", "moved here by you; click to undo") for word in told]
    does = "drawn just like it; click to protect it instead" if erase_synonyms else "click to protect it"
    chips += [Chip(row["text"], row, "chip-protect", does) for row in target["synonyms"] if row["text"] not in moved]
    return chips


def _target(target: Mapping[str, Any], going: list[Chip], kept: list[Chip], several: bool, erase_synonyms: bool) -> str:
    name = target["target"]
    into = target["anchor"] or "nothing"
    head = (
        f'<p class="ae-target"><strong>{text(name)}</strong> <span class="ae-quiet">turns into</span> '
        f"<strong>{text(into)}</strong></p>"
    )
    title, says = ("Will go too", "the model draws them just like it")
    if not erase_synonyms:
        title, says = "Neither erased nor protected", "the model draws them just like it"
    gone = _group("erase", "fade", title, says, going, keep=f"chips-erase-{name}") if going else ""
    named = (
        f'<p class="ae-named"><span class="ae-quiet">The same by name, never protected:</span> '
        f"{text(', '.join(target['named']))}</p>"
        if target["named"]
        else ""
    )
    kept_html = _group("keep", "shield", "Protected", "nearest first", kept, keep=f"chips-keep-{name}")
    label = f' aria-label="{text(name)}"' if several else ""
    return f'<section class="ae-target-box"{label}>{head}{gone}{named}{kept_html}</section>'


def _group(kind: str, drawing: str, title: str, says: str, chips: list[Chip], *, keep: str) -> str:
    first = _list(kind, chips[:SHOWN]) if chips else '<p class="ae-quiet">none</p>'
    rest = more(f"and {len(chips) - SHOWN} more", _list(kind, chips[SHOWN:]), keep=keep) if len(chips) > SHOWN else ""
    return (
        f'<div class="ae-group ae-group-{kind}"><p class="ae-group-title">{icon(drawing)}<span>{text(title)}</span> '
        f'<span class="ae-count">{len(chips)}</span> <span class="ae-quiet">{text(says)}</span></p>{first}{rest}</div>'
    )


def _list(kind: str, chips: Sequence[Chip]) -> str:
    items = "".join(f"<li>{_chip(chip)}</li>" for chip in chips)
    return f'<ul class="ae-chip-list ae-chip-list-{kind}" role="list">{items}</ul>'


def _chip(chip: Chip) -> str:
    short, long = _hint(chip.row)
    hint = f'<span class="ae-chip-hint" title="{text(long)}">{text(short)}</span>' if short else ""
    word = f'<span class="ae-chip-word">{text(chip.word)}</span>'
    return button(chip.word, chip.action, chip.word, title=chip.does, kind="chip", html=word + hint)


def _hint(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """s(c) where it was measured, else the similarity of the texts: the figure, and what it says."""
    if row is None:
        return "", ""
    if row.get("difference") is not None:
        return f"{row['difference']:.2f}", "drawn differently by this much: 0 = just like it, 1 = like an empty prompt"
    return f"{row['similarity']:.2f}", "similarity of the texts; how it is drawn was not measured"
