"""The concepts near a target, before training: what will go with it and what will stay, as chips that can be moved.

A click on a chip is one of three actions, whose value is the concept's text:
``chip-erase``: erase it too (add it to ``synonym``, take it out of ``preserve``); ``chip-protect``: always protect it
(add it to ``preserve``, take it out of ``synonym``); ``chip-auto``: let the measurement decide (take it out of both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from erasure.ui.html import box, button, element, empty_html, icon, more, notes_html, quiet

SHOWN = 24
# What the button says that measures the concepts, and what it says meanwhile.
FIND = "Find nearby concepts"
MEASURING = "Measuring nearby concepts …"


class Chip(NamedTuple):
    """A concept to click. ``row`` is what was measured, None for a concept that the user named; ``action`` is what a
    click does, and ``does`` the same in words."""

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
) -> Markup:
    """Return all chips, or an invitation to measure while ``space`` is None.

    ``space``: as ConceptSpace.to_dict() gives it. ``synonym`` and ``preserve``: the user's lists as they are now, which
    win over ``space``. ``stale``: whether the form has changed since ``space`` was measured.
    """
    if space is None:
        return empty_html(
            "See which concepts are near yours before you train.",
            f"Press “{FIND}”. Then click a concept to erase it too, or to protect it.",
        )
    moved = {*synonym, *preserve}
    placed: set[str] = set()
    parts = []
    several = len(space["targets"]) > 1
    for target in space["targets"]:
        going = _going(target, synonym, moved, erase_synonyms)
        placed.update(chip.word for chip in going)
        kept = [
            Chip(row["text"], row, "chip-erase", "click to erase it too")
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
    if always:
        says = "whatever the search finds"
        parts.append(_group("always", "lock", "Always protected", says, always, keep="chips-always"))
    old = notes_html([f"The settings have changed since these were measured. Press “{FIND}” again."]) if stale else ""
    return box("chips", old, *parts, notes_html(space.get("notes", ())))


def _going(target: Mapping[str, Any], synonym: Sequence[str], moved: set[str], erase_synonyms: bool) -> list[Chip]:
    """Return the measured synonyms that the user did not move away, and what the user moved here."""
    rows = {row["text"]: row for row in (*target["synonyms"], *target["preserved"])}
    named = [word for word in dict.fromkeys(synonym) if word in rows or word in target.get("told", ())]
    chips = [Chip(word, rows.get(word), "chip-auto", "moved here by you; click to undo") for word in named]
    does = "drawn just like it; click to protect it instead" if erase_synonyms else "click to protect it"
    chips += [Chip(row["text"], row, "chip-protect", does) for row in target["synonyms"] if row["text"] not in moved]
    return chips


def _target(
    target: Mapping[str, Any], going: list[Chip], kept: list[Chip], several: bool, erase_synonyms: bool
) -> Markup:
    name = target["target"]
    into = target["anchor"] or "nothing"
    turns = [element("strong", name), " ", quiet("turns into"), " ", element("strong", into)]
    head = element("p", *turns, class_="ae-target")
    title, says = ("Will go too", "the model draws them just like it")
    if not erase_synonyms:
        title, says = "Neither erased nor protected", "the model draws them just like it"
    gone = _group("erase", "fade", title, says, going, keep=f"chips-erase-{name}") if going else ""
    others = quiet("Other names of the target, never protected:")
    names = [text for text in target["named"] if text != name]
    named = element("p", others, " ", ", ".join(names), class_="ae-named") if names else ""
    protected = _group("keep", "shield", "Protected", "nearest first", kept, keep=f"chips-keep-{name}")
    label = name if several else None
    return element("section", head, gone, named, protected, class_="ae-target-box", aria_label=label)


def _group(kind: str, drawing: str, title: str, says: str, chips: list[Chip], *, keep: str) -> Markup:
    first = _list(kind, chips[:SHOWN]) if chips else element("p", "none", class_="ae-quiet")
    rest = more(f"and {len(chips) - SHOWN} more", _list(kind, chips[SHOWN:]), keep=keep) if len(chips) > SHOWN else ""
    count = element("span", len(chips), class_="ae-count")
    head = element("p", icon(drawing), element("span", title), " ", count, " ", quiet(says), class_="ae-group-title")
    return element("div", head, first, rest, class_=f"ae-group ae-group-{kind}")


def _list(kind: str, chips: Sequence[Chip]) -> Markup:
    items = [element("li", _chip(chip)) for chip in chips]
    return element("ul", *items, class_=f"ae-chip-list ae-chip-list-{kind}", role="list")


def _chip(chip: Chip) -> Markup:
    short, long = _hint(chip.row)
    hint = element("span", short, class_="ae-chip-hint", title=long) if short else ""
    word = element("span", chip.word, class_="ae-chip-word")
    return button(chip.word, chip.action, chip.word, title=chip.does, kind="chip", html=word + hint)


def _hint(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return a figure and what it means: s(c) where it was measured, else the similarity of the texts."""
    if row is None:
        return "", ""
    if row.get("difference") is not None:
        means = "how differently the model draws it: 0 = just like the target, 1 = as for an empty prompt"
        return f"{row['difference']:.2f}", means
    return f"{row['similarity']:.2f}", "similarity of the texts; how the model draws it was not measured"
