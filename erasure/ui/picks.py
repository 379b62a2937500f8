"""The adversarial concepts: what the search found to be hurt most, by its share of all picks."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from erasure.jobs.job import Snapshot
from erasure.ui.html import box, element, empty_html, more, quiet

SHOWN = 10


def picks_html(snapshot: Snapshot | None) -> Markup:
    """Return bars by share, largest first, with the concept preserved right now marked and the rest folded away."""
    picks = snapshot.picks if snapshot is not None else ()
    total = sum(count for _, count in picks)
    if snapshot is None or total == 0:
        return empty_html(
            "The concepts that need protection most will be listed here.",
            "Each update searches for the concept that the erasure would hurt most, and preserves it.",
        )
    current = snapshot.current_pick
    largest = max(count for _, count in picks)
    rows = [(place, _row(word, count, total, largest, word == current)) for place, (word, count) in enumerate(picks)]
    first = [row for place, row in rows if place < SHOWN or picks[place][0] == current]
    rest = [row for place, row in rows if place >= SHOWN and picks[place][0] != current]
    concepts = "1 concept" if len(picks) == 1 else f"{len(picks)} concepts"
    counted = quiet(f"{concepts} in {total} {'pick' if total == 1 else 'picks'}")
    head = element("p", "Preserved most often ", counted, class_="ae-picks-title")
    tail = more(f"and {len(rest)} more", _list(rest), keep="picks") if rest else ""
    return box("picks", head, _list(first), tail)


def _list(rows: Sequence[Markup]) -> Markup:
    return element("ol", *rows, class_="ae-list")


def _row(name: str, count: int, total: int, largest: int, current: bool) -> Markup:
    now = element("span", "now", class_="ae-now") if current else ""
    filled = element("span", style=f"width:{100 * count / largest:.1f}%")
    return element(
        "li",
        element("span", element("span", name, class_="ae-pick-text", title=name), now, class_="ae-pick-name"),
        element("span", filled, class_="ae-pick-bar", aria_hidden="true"),
        element("span", _share(count / total), class_="ae-pick-share", title=f"{count} of {total} picks"),
        class_="ae-pick ae-pick-now" if current else "ae-pick",
        aria_current="true" if current else None,
    )


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"
