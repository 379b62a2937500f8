"""The adversarial concepts: what the search found to be hurt most, by its share of all picks."""

from __future__ import annotations

from erasure.jobs.job import Snapshot
from erasure.ui.html import box, empty_html, more, text

SHOWN = 10


def picks_html(snapshot: Snapshot | None) -> str:
    """Bars by share, most often first, the concept preserved right now marked; the rest folded away."""
    picks = snapshot.picks if snapshot is not None else ()
    total = sum(count for _, count in picks)
    if snapshot is None or total == 0:
        return empty_html(
            "The concepts that need protection most will be listed here.",
            "At each update the search looks for the one that the erasure would hurt most, and preserves it.",
        )
    current = snapshot.current_pick
    largest = max(count for _, count in picks)
    rows = [(place, _row(word, count, total, largest, word == current)) for place, (word, count) in enumerate(picks)]
    first = [row for place, row in rows if place < SHOWN or picks[place][0] == current]
    rest = [row for place, row in rows if place >= SHOWN and picks[place][0] != current]
    head = (
        '<p class="ae-picks-title">Preserved against the erasure <span class="ae-quiet">'
        f"{len(picks)} {'concept' if len(picks) == 1 else 'concepts'} in {total} picks</span></p>"
    )
    tail = more(f"and {len(rest)} more", _list(rest), keep="picks") if rest else ""
    return box("picks", head, _list(first), tail)


def _list(rows: list[str]) -> str:
    return f'<ol class="ae-list">{"".join(rows)}</ol>'


def _row(name: str, count: int, total: int, largest: int, current: bool) -> str:
    now = '<span class="ae-now">now</span>' if current else ""
    mark = ' aria-current="true"' if current else ""
    return (
        f'<li class="ae-pick{" ae-pick-now" if current else ""}"{mark}>'
        f'<span class="ae-pick-name"><span class="ae-pick-text" title="{text(name)}">{text(name)}</span>{now}</span>'
        f'<span class="ae-pick-bar" aria-hidden="true"><span style="width:{100 * count / largest:.1f}%"></span></span>'
        f'<span class="ae-pick-share" title="{count} of {total} picks">{_share(count / total)}</span></li>'
    )


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"
