"""Sharing a LoRA and checking a received one, or a checkpoint, as the tab shows what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from markupsafe import Markup

from erasure.jobs.checking import LoraCheck
from erasure.jobs.sharing import Shared
from erasure.ui.html import box, element, facts, icon, notes_html, problems_html

if TYPE_CHECKING:
    from erasure.bake.explain import CheckpointReport

# Relative to the page, which a web UI may serve below a path of its own.
_DOWNLOAD = "adversarial-erase/v1/share/{}.zip"


def shared_html(shared: Shared) -> Markup:
    """Return where the folder is, what is in it, and a link to download it as one file."""
    link = element(
        "a", f"Download {shared.name}.zip", href=_DOWNLOAD.format(quote(shared.name)), download=f"{shared.name}.zip",
        class_="ae-button",
    )  # fmt: skip
    rows = [
        ("Folder", f"shared/{shared.name}, beside the folder of runs"),
        ("Files", ", ".join(shared.files)),
    ]
    return box(
        "result",
        element(
            "div", icon("check"), element("h3", f"{shared.name} is ready to be passed on"), class_="ae-result-head"
        ),
        facts(rows),
        element("div", link, class_="ae-actions"),
        notes_html(shared.notes),
    )


def received_html(found: LoraCheck) -> Markup:
    """Return what a received file says of itself, whether its hashes hold, and whether the checkpoint is its base."""
    sound = found.whole and not found.problems
    drawing = "check" if sound and found.same_base else "info" if sound else "warning"
    base = found.base[0].upper() + found.base[1:]
    rows = [
        ("Kind", found.kind),
        ("Erases", ", ".join(found.erases) or "unknown: the file does not say"),
        ("Combined from", found.combined),
        ("Made from", found.made_from),
        ("This base", base),
        ("Baked into this checkpoint", found.baked),
        *((f"Hash: {key}" if key != "content hash" else "Content hash", text) for key, text in found.hashes.items()),
        ("Measured by its maker", " ".join(found.measured)),
    ]
    measure = [] if found.same_base else ["Measure says what it does to this checkpoint."]
    return box(
        "result",
        element("div", icon(drawing), element("h3", found.lora), class_="ae-result-head"),
        problems_html(found.problems),
        facts(rows),
        notes_html(measure),
    )


def baked_html(report: CheckpointReport) -> Markup:
    """Return what is baked into a checkpoint, as it says itself, and whether its weights are those of then."""
    sound = report.whole and not report.problems
    drawing = "warning" if not sound else "check" if report.baked else "info"
    rows = [
        ("Kind", report.kind),
        ("Baked in", "; then ".join(each.line for each in report.baked)),
        ("Erases", ", ".join(report.erases)),
        ("Brings out", ", ".join(report.brings_out)),
        *((f"Content hash {name}".strip(), found) for name, found in report.hashes.items()),
    ]
    said = "This is what it says of itself; the hash covers its weights, not what it says."
    unknown = "Nothing is known to be baked into it: it does not say so."
    return box(
        "result",
        element("div", icon(drawing), element("h3", report.path.name), class_="ae-result-head"),
        problems_html(report.problems),
        facts(rows),
        notes_html([said if report.baked else unknown]),
    )
