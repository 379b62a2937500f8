"""Combining LoRAs, as the tab shows it: how far it is, and what came of it."""

from __future__ import annotations

import io
from functools import lru_cache

from markupsafe import Markup
from PIL import Image

from erasure.jobs.combining import CombineSnapshot
from erasure.run.cover import is_unsafe
from erasure.ui.errand import errand_progress
from erasure.ui.html import (
    box,
    element,
    empty_html,
    facts,
    icon,
    join,
    more,
    notes_html,
    picture,
    problems_html,
)
from erasure.ui.picture_html import data_url

_WIDEST = 1600  # pixels
COMBINE_CANCEL = "combine-cancel"


def combine_html(combined: CombineSnapshot | None, pictures: bytes | None = None) -> Markup:
    """Return progress with a button to cancel it, or what came of it with its pictures, or why nothing did."""
    if combined is None:
        return empty_html(
            "Make one LoRA that erases what several do.",
            "Sums of erasures hurt more than each alone: Combine and refine trains on from all of them.",
        )
    if combined.state == "combining":
        title = f"Combining {combined.name}"
        return errand_progress(title, combined.message, combined.share, combined.notes, COMBINE_CANCEL)
    if combined.state == "failed":
        return problems_html([combined.problem], f"{combined.name} could not be made")
    if combined.state == "cancelled":
        return notes_html([f"Combining {combined.name} was cancelled. Nothing of it is left."])
    loras = ", ".join(f"{name} (weight {weight:g})" for name, weight in combined.loras)
    card = box(
        "result",
        element("div", icon("check"), element("h3", combined.name), class_="ae-result-head"),
        *(element("p", line) for line in combined.lines),
        facts([("Made of", loras), ("Erases", ", ".join(combined.erases) or "unknown: no file says it")]),
        notes_html([*combined.notes, "Nobody has measured the sum yet: Check a LoRA has a button Measure."]),
    )
    if pictures is None or not combined.pictures:
        return card
    said = "Before, with the exact sum, and compressed" if combined.left_out else "Before, and with the exact sum"
    sheet = box("sheet", picture(_address(pictures), said))
    unsafe = is_unsafe(combined.erases)
    return join(
        [card, more("Show the pictures (they may show unsafe content)" if unsafe else said, sheet, keep="combined")]
    )


@lru_cache(maxsize=1)
def _address(pictures: bytes) -> str:
    with Image.open(io.BytesIO(pictures)) as opened:
        return data_url(opened, widest=_WIDEST)
