"""The concepts near a target: what will go with it and what will stay, as chips that can be moved; after a run also
what became of them.

A click on a chip is one of three actions, whose value is the concept's text:
``chip-erase``: erase it too (add it to ``synonym``, take it out of ``preserve``); ``chip-protect``: always protect it
(add it to ``preserve``, take it out of ``synonym``); ``chip-auto``: let the measurement decide (take it out of both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from erasure.ui.html import box, button, element, empty_html, icon, more, notes_html, quiet
from erasure.ui.search import FIND
from erasure.verdict.verdict import Finding, Verdict

SHOWN = 24


class Chip(NamedTuple):
    """A concept to click. ``row`` is what was measured, None for a concept that the user named; ``action`` is what a
    click does, "" if the chip only tells, and ``does`` the same in words. ``finding``: what a verdict says of it, None
    if nothing. ``drawn_as``: the target that the model draws it as, by what was measured before a run; "" if it does
    not."""

    word: str
    row: Mapping[str, Any] | None
    action: str
    does: str
    finding: Finding | None = None
    drawn_as: str = ""


def chips_html(
    space: Mapping[str, Any] | None,
    synonym: Sequence[str] = (),
    preserve: Sequence[str] = (),
    *,
    erase_synonyms: bool = True,
    stale: bool = False,
    verdict: Verdict | None = None,
) -> Markup:
    """Return all chips, or an invitation to measure while ``space`` is None.

    ``space``: as ConceptSpace.to_dict() gives it. ``synonym`` and ``preserve``: the user's lists as they are now, which
    win over ``space``. ``stale``: whether the form has changed since ``space`` was measured. ``verdict``: on a run with
    these targets; words that the model draws as the target get a choice, since both cannot be had.
    """
    if space is None:
        return empty_html(
            "See which concepts are near yours before you train.",
            f"Press “{FIND}”. Then click a concept to erase it too, or to protect it.",
        )
    moved = {*synonym, *preserve}
    found = {finding.concept: finding for finding in (verdict.findings if verdict is not None else ()) if finding.known}
    placed: set[str] = set()
    parts = []
    several = len(space["targets"]) > 1
    for target in space["targets"]:
        going = _going(target, synonym, moved, erase_synonyms)
        placed.update(chip.word for chip in going)
        kept = [_kept_chip(row, target["target"]) for row in target["preserved"] if row["text"] not in moved]
        parts.append(_target(target, _judged(going, found), _judged(kept, found), several, erase_synonyms))
    loose = [Chip(word, None, "chip-auto", "click to undo") for word in dict.fromkeys(synonym) if word not in placed]
    if loose:
        chips = _judged(loose, found)
        parts.append(_group("erase", "fade", "Will go too", "named by you", chips, keep="chips-named"))
    always = [
        Chip(word, None, "chip-auto", "always protected; click to undo")
        for word in dict.fromkeys(preserve)
        if word not in synonym
    ]
    if always:
        chips, says = _judged(always, found), "whatever the search finds"
        parts.append(_group("always", "lock", "Always protected", says, chips, keep="chips-always"))
    old = notes_html([f"The settings have changed since these were measured. Press “{FIND}” again."]) if stale else ""
    return box("chips", old, *parts, notes_html(space.get("notes", ())))


def findings_html(verdict: Verdict) -> Markup:
    """Return what became of all words that were judged, as chips that only tell: nothing happens on a click."""
    own = verdict.of("target", "name")
    kept = [finding for finding in verdict.of("near", "unrelated") if finding.kept]
    groups = (
        ("erase", "fade", "Should be gone", "the concept and its other names", own),
        ("hurt", "warning", "Hurt", "recognised in less than half of the pictures that showed them", verdict.hurt),
        ("keep", "shield", "Kept", "the nearest words, and some unrelated ones", kept),
    )
    parts = []
    for kind, drawing, title, says, findings in groups:
        chips = [Chip(finding.concept, None, "", "", finding) for finding in findings]
        if chips:
            parts.append(_group(kind, drawing, title, says, chips, keep=f"findings-{kind}"))
    return box("chips", *parts) if parts else Markup("")


def _going(target: Mapping[str, Any], synonym: Sequence[str], moved: set[str], erase_synonyms: bool) -> list[Chip]:
    """Return the measured synonyms that the user did not move away, and what the user moved here."""
    rows = {row["text"]: row for row in (*target["synonyms"], *target["preserved"])}
    named = [word for word in dict.fromkeys(synonym) if word in rows or word in target.get("told", ())]
    chips = [Chip(word, rows.get(word), "chip-auto", "moved here by you; click to undo") for word in named]
    does = "drawn just like it; click to protect it instead" if erase_synonyms else "click to protect it"
    chips += [Chip(row["text"], row, "chip-protect", does) for row in target["synonyms"] if row["text"] not in moved]
    return chips


def _kept_chip(row: Mapping[str, Any], target: str) -> Chip:
    drawn_as = target if row.get("drawn_as_target") else ""
    return Chip(row["text"], row, "chip-erase", "click to erase it too", drawn_as=drawn_as)


def _judged(chips: Sequence[Chip], found: Mapping[str, Finding]) -> list[Chip]:
    # A verdict on a word says more than what was measured before.
    return [chip._replace(finding=found[chip.word], drawn_as="") if chip.word in found else chip for chip in chips]


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
    along = [chip for chip in kept if chip.finding is not None and chip.finding.drawn_as_target]
    others_kept = [chip for chip in kept if chip not in along]
    says = "nearest first"
    judged = [chip.finding for chip in others_kept if chip.finding is not None]
    if judged:
        says += f"; {sum(finding.kept for finding in judged)} of {len(judged)} that were judged were kept"
    protected = _group("keep", "shield", "Protected", says, others_kept, keep=f"chips-keep-{name}")
    legend = _legend(name) if any(chip.drawn_as for chip in others_kept) else ""
    label = name if several else None
    return element(
        "section", head, gone, named, _along(along), protected, legend, class_="ae-target-box", aria_label=label
    )


def _legend(target: str) -> Markup:
    """Return what the look of a protected word means that the model draws as the target."""
    sample = element("span", f"drawn as {target}", class_="ae-chip-sample ae-chip-as-target")
    says = "both cannot be had: a click erases the word too; left here, it holds the erasure back"
    return element("p", sample, " ", quiet(says), class_="ae-legend")


def _along(chips: Sequence[Chip]) -> Markup:
    """Return the words that go along with their target, each with a choice; "" if there are none."""
    items = []
    for chip in chips:
        erase = button(f"Also erase {chip.word}", "chip-erase", chip.word, title="click to erase it too",
                       kind="quiet-button", html=Markup("Also erase"))  # fmt: skip
        keep = button(f"Keep {chip.word} protected", "chip-protect", chip.word,
                      title="click to always protect it; this holds the erasure back",
                      kind="quiet-button", html=Markup("Keep protected"))  # fmt: skip
        word = element("span", chip.word, class_="ae-chip-word")
        items.append(element("li", word, " ", _mark(chip), erase, keep, class_="ae-along"))
    if not items:
        return Markup("")
    says = quiet("the model draws them as the target, too, so both cannot be had")
    count = element("span", len(items), class_="ae-count")
    head = element("p", icon("info"), element("span", "Goes along"), " ", count, " ", says, class_="ae-group-title")
    list_ = element("ul", *items, class_="ae-chip-list", role="list")
    return element("div", head, list_, class_="ae-group ae-group-along")


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
    word = element("span", chip.word, class_="ae-chip-word")
    if not chip.action:
        return element("span", word, _mark(chip), class_="ae-chip ae-chip-still")
    says = f"drawn as {chip.drawn_as}, so both cannot be had" if chip.drawn_as else ""
    if chip.finding is not None:
        says = _found(chip.finding)[1]
    does = f"{says}; {chip.does}" if says else chip.does
    kind = "chip ae-chip-as-target" if chip.drawn_as else "chip"
    return button(chip.word, chip.action, chip.word, title=does, kind=kind, html=word + _mark(chip))


def _mark(chip: Chip) -> Markup:
    """Return what stands behind a word: what became of it, else a figure from before."""
    if chip.finding is not None:
        kind, long = _found(chip.finding)
        return element("span", kind, class_=f"ae-chip-hint ae-chip-{kind}", title=long)
    short, long = _hint(chip.row)
    return element("span", short, class_="ae-chip-hint", title=long) if short else Markup("")


def _found(finding: Finding) -> tuple[str, str]:
    """Return in a word what became of a concept, and the pictures that say so."""
    if finding.role in ("target", "name"):
        kind = "left" if finding.after else "gone"
    else:
        kind = "kept" if finding.kept else "hurt"
    return kind, f"{kind}: recognised in {finding.after} of {finding.pictures} pictures, before in {finding.before}"


def _hint(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return a figure and what it means: s(c) where it was measured, else the similarity of the texts."""
    if row is None:
        return "", ""
    if row.get("difference") is not None:
        means = "how differently the model draws it: 0 = just like the target, 1 = as for an empty prompt"
        return f"{row['difference']:.2f}", means
    return f"{row['similarity']:.2f}", "similarity of the texts; how the model draws it was not measured"
