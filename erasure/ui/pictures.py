"""Pictures inside of the page's HTML, as data: nothing to be served, so nothing to be guarded or to go stale."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from erasure.jobs.job import Snapshot
from erasure.run.picture_folder import Role, Subject
from erasure.run.preview import RunPreview
from erasure.ui.html import box, button, empty_html, picture, text

if TYPE_CHECKING:
    from PIL.Image import Image

# Widest picture in pixels: of a sheet as a whole, of one picture in a grid, and of a run in the list of runs.
WIDEST = 1536
CELL = 320
THUMBNAIL = 112
ROLES: dict[Role, str] = {"erased": "erased", "protected": "protected", "other": "unrelated"}


class ShownRow(NamedTuple):
    """The pictures of one subject, as addresses; one for each seed."""

    subject: Subject
    seeds: tuple[int, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


def data_url(image: Image, widest: int = WIDEST, lossless: int = 512) -> str:
    """PNG up to so many pixels a side, JPEG for what is larger."""
    image = image.convert("RGB")
    if image.width > widest:
        image = image.resize((widest, max(1, round(image.height * widest / image.width))))
    buffer = io.BytesIO()
    small = image.width * image.height <= lossless**2
    image.save(buffer, **({"format": "PNG"} if small else {"format": "JPEG", "quality": 88}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def thumbnail_url(preview: RunPreview) -> str:
    """The first subjects before (left) and after (right); "" where they cannot be read (any more)."""
    try:
        return "" if preview.is_sheet else _thumbnail_url(preview, preview.place.stat().st_mtime_ns)
    except (OSError, ValueError):
        return ""


# Of each once, as long as its files stay the same: ``time`` is when they last changed.
@lru_cache(maxsize=8)
def _sheet_url(preview: RunPreview, time: int) -> str:
    return data_url(preview.sheet())


@lru_cache(maxsize=8)
def _rows(preview: RunPreview, time: int) -> tuple[ShownRow, ...]:
    def urls(images: Sequence[Image]) -> tuple[str, ...]:
        return tuple(data_url(image, CELL, lossless=128) for image in images)

    return tuple(ShownRow(row.subject, row.seeds, urls(row.before), urls(row.after)) for row in preview.rows())


@lru_cache(maxsize=64)
def _thumbnail_url(preview: RunPreview, time: int) -> str:
    from PIL import Image

    rows = preview.rows()[:2]
    half = THUMBNAIL // 2
    shown = Image.new("RGB", (THUMBNAIL, half * len(rows)))
    for j, row in enumerate(rows):
        for i, images in enumerate((row.before, row.after)):
            shown.paste(images[0].resize((half, half)), (i * half, j * half))
    return data_url(shown)


def shown_step(snapshot: Snapshot, wanted: int | None) -> int | None:
    """The step whose grid is shown: the wanted one if there is one, else the last."""
    if wanted in snapshot.previews:
        return wanted
    return snapshot.previews[-1] if snapshot.previews else None


def grid_html(snapshot: Snapshot | None, preview: RunPreview | None) -> str:
    """The pictures of a preview before and after, and a selector of steps where there are several."""
    if snapshot is None or preview is None:
        return empty_html(
            "Pictures before and after will be shown here.",
            "The erased concept, neighbours that are protected, and something else: each with the same seeds.",
        )
    step = preview.step
    try:
        time = preview.place.stat().st_mtime_ns
        shown = _whole_sheet(snapshot, preview, time) if preview.is_sheet else _sheet(_rows(preview, time), step)
    except (OSError, ValueError):
        return empty_html("The picture of this step cannot be read any more.")
    selector = "".join(
        button(str(other), "step", str(other), title="show the pictures after so many updates", kind="step",
               pressed=other == step)
        for other in snapshot.previews
    )  # fmt: skip
    steps = (
        f'<div class="ae-steps" role="group" aria-label="Pictures after so many updates">'
        f'<span class="ae-quiet">after update</span>{selector}</div>'
        if len(snapshot.previews) > 1
        else ""
    )
    return box("grid", steps, shown)


def _sheet(rows: Sequence[ShownRow], step: int) -> str:
    """A row for every subject; what it is called, and what is above it, in the page's own letters."""
    after = f"after {step} {'update' if step == 1 else 'updates'}"
    lines = "".join(
        f'<div class="ae-row" role="group" aria-label="{text(row.subject.concept)}">'
        f'<span class="ae-row-name">{text(row.subject.concept)}{_quiet(ROLES[row.subject.role])}</span>'
        f"{_shots(row, 'before', row.before)}{_shots(row, after, row.after)}</div>"
        for row in rows
    )
    head = f'<div class="ae-row" aria-hidden="true"><span></span><span>before</span><span>{text(after)}</span></div>'
    said = '<p class="ae-quiet">Each with the same seeds before and after.</p>'
    return f'<div class="ae-sheet">{head}{lines}</div>{said}'


def _shots(row: ShownRow, when: str, urls: Sequence[str]) -> str:
    name = row.subject.concept
    shown = "".join(
        picture(url, f"{name}, {when}, seed {seed}", "shot") for url, seed in zip(urls, row.seeds, strict=True)
    )
    return f'<span class="ae-shots">{shown}</span>'


def _quiet(words: str) -> str:
    return f' <span class="ae-quiet">{text(words)}</span>'


def _whole_sheet(snapshot: Snapshot, preview: RunPreview, time: int) -> str:
    """Of version 0.1.0, which kept no pictures but this one; nor what they show, which follows from the run."""
    names = ", ".join(dict.fromkeys(_names(snapshot)))
    said = f"Pictures of {names}: on the left before, on the right after {preview.step} updates"
    return picture(_sheet_url(preview, time), said, "grid-picture")


def pair_html(without: Image, with_it: Image, prompt: str, about: str) -> str:
    """Two pictures of one prompt and seed, without and with a LoRA; ``about`` says with which, and what changed."""
    figures = "".join(
        f'<figure class="ae-figure">{picture(data_url(image, 768), f"{prompt}, {name}", "try-picture")}'
        f"<figcaption>{text(name)}</figcaption></figure>"
        for image, name in ((without, "without"), (with_it, "with"))
    )
    return box("try", f'<div class="ae-pair">{figures}</div><p class="ae-quiet">{text(about)}</p>')


def _names(snapshot: Snapshot) -> list[str]:
    erased: Any = snapshot.config.get("erase", ())
    preserved: list[str] = []
    for target in (snapshot.plan or {}).get("space", {}).get("targets", ())[:1]:
        preserved = [row["text"] for row in target["preserved"]]
    chosen = list(snapshot.config.get("preserve", ()))[:2]
    return [*erased[:5], *chosen, *preserved[:2], *(preserved[-1:] if len(preserved) > 2 else [])]
