"""Measuring a LoRA file, as the tab shows it: how far it is, and what was found."""

from __future__ import annotations

from markupsafe import Markup

from erasure.jobs.measuring import MeasureSnapshot
from erasure.ui.chips import findings_html
from erasure.ui.errand import errand_progress
from erasure.ui.html import box, element, empty_html, facts, icon, join, notes_html, problems_html
from erasure.ui.verdict_html import tone, verdict_parts

CANCEL = "measure-cancel"


def measure_html(measured: MeasureSnapshot | None) -> Markup:
    """Return progress with a button to cancel it, or the verdict, or why there is none."""
    if measured is None:
        return empty_html(
            "See what a LoRA erases, keeps and hurts on the chosen checkpoint.",
            "Any LoRA of the Lora folder will do, whoever made it. It takes some minutes on a CPU.",
        )
    if measured.state == "measuring":
        title = f"Measuring {measured.lora} for {', '.join(measured.erase)}"
        return errand_progress(title, measured.message, measured.share, measured.notes, CANCEL)
    if measured.state == "failed":
        return problems_html([measured.problem], f"{measured.lora} could not be measured")
    if measured.state == "cancelled" or measured.verdict is None:
        return notes_html([f"Measuring {measured.lora} was cancelled."])
    kind, drawing = tone(measured.verdict)
    rows = [
        ("Concept", ", ".join(measured.erase)),
        ("Weight", f"{measured.weight:g}"),
        ("Measured on", measured.checkpoint),
    ]
    card = box(
        "result",
        element("div", icon(drawing), element("h3", measured.lora), class_="ae-result-head"),
        element("div", *verdict_parts(measured.verdict, left="Not gone."), class_=f"ae-verdict ae-verdict-{kind}"),
        facts(rows),
        notes_html(measured.notes),
    )
    return join([card, findings_html(measured.verdict)])
