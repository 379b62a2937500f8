"""Baking LoRAs into a checkpoint, as the tab shows it: how far it is, and what came of it."""

from __future__ import annotations

from markupsafe import Markup

from erasure.jobs.baking import BakeSnapshot
from erasure.ui.errand import errand_progress
from erasure.ui.html import box, element, empty_html, facts, icon, notes_html, problems_html

BAKE_CANCEL = "bake-cancel"


def bake_html(baked: BakeSnapshot | None) -> Markup:
    """Return progress with a button to cancel it, or what came of it, or why nothing did."""
    if baked is None:
        return empty_html(
            "Make a checkpoint that has the LoRA in its own weights, so that no prompt can leave it out.",
            "The chosen checkpoint stays as it is. The new one is as large, and lies beside it.",
        )
    if baked.state == "baking":
        return errand_progress(f"Baking {baked.name}", baked.message, baked.share, baked.notes, BAKE_CANCEL)
    if baked.state == "failed":
        return problems_html([baked.problem], f"{baked.name} could not be baked")
    if baked.state == "cancelled":
        return notes_html([f"Baking {baked.name} was cancelled. Nothing of it is left."])
    loras = ", ".join(f"{name} (weight {weight:g})" for name, weight in baked.loras)
    return box(
        "result",
        element("div", icon("check"), element("h3", baked.name), class_="ae-result-head"),
        *(element("p", line) for line in baked.lines),
        facts([("Made of", baked.checkpoint), ("With", loras)]),
        notes_html([*baked.notes, "Draw with it without the LoRA in the prompt, or it counts twice."]),
    )
