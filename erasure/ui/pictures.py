"""Pictures inside of the page's HTML, as data: nothing to be served, so nothing to be guarded or to go stale."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from erasure.jobs.job import Snapshot
from erasure.run.picture_sheet import SEEDS, before_and_after
from erasure.ui.html import box, button, element, empty_html, join, picture, quiet

if TYPE_CHECKING:
    from PIL.Image import Image

# Widest picture in pixels: of a sheet as a whole, of one picture in a grid, and of a run in the list of runs.
WIDEST = 1536
CELL = 320
THUMBNAIL = 112


class Row(NamedTuple):
    """The pictures of one prompt, as addresses; one for each seed."""

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


def sheet_url(path: Path) -> str:
    """A preview as it is in its file, "" if it cannot be read (any more)."""
    try:
        return _sheet_url(path, path.stat().st_mtime_ns)
    except OSError:
        return ""


def preview_rows(path: Path) -> tuple[Row, ...]:
    """The pictures of a preview one by one, so that a page can lay them out; empty if that is not possible."""
    try:
        return _preview_rows(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return ()


def thumbnail_url(path: Path) -> str:
    """Of a preview, the first prompts before (left) and after (right); "" if there is none (any more)."""
    try:
        return _thumbnail_url(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return ""


@lru_cache(maxsize=8)
def _sheet_url(path: Path, time: int) -> str:
    return data_url(_opened(path))


@lru_cache(maxsize=8)
def _preview_rows(path: Path, time: int) -> tuple[Row, ...]:
    def urls(images: Sequence[Image]) -> tuple[str, ...]:
        return tuple(data_url(image, CELL, lossless=128) for image in images)

    return tuple(Row(urls(before), urls(after)) for before, after in before_and_after(_opened(path)))


@lru_cache(maxsize=64)
def _thumbnail_url(path: Path, time: int) -> str:
    from PIL import Image

    rows = before_and_after(_opened(path))[:2]
    half = THUMBNAIL // 2
    shown = Image.new("RGB", (THUMBNAIL, half * len(rows)))
    for j, pair in enumerate(rows):
        for i, pictures in enumerate(pair):
            shown.paste(pictures[0].resize((half, half)), (i * half, j * half))
    return data_url(shown)


def _opened(path: Path) -> Image:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def shown_step(snapshot: Snapshot, wanted: int | None) -> int | None:
    """The step whose grid is shown: the wanted one if there is one, else the last."""
    if wanted in snapshot.previews:
        return wanted
    return snapshot.previews[-1] if snapshot.previews else None


def grid_html(snapshot: Snapshot | None, path: Path | None, step: int | None) -> Markup:
    """The before/after grid of ``step``, read from ``path``, and a selector of steps where there are several."""
    if snapshot is None or step is None or path is None:
        return empty_html(
            "Pictures before and after will be shown here.",
            "The erased concept, neighbours that are protected, and something else: each with the same seeds.",
        )
    names, rows = list(dict.fromkeys(_names(snapshot))), preview_rows(path)
    shown = _sheet(snapshot, names, rows, step) if len(rows) == len(names) else _whole_sheet(path, names, step)
    if not shown:
        return empty_html("The picture of this step cannot be read any more.")
    selector = join(
        button(str(other), "step", str(other), title="show the pictures after so many updates", kind="step",
               pressed=other == step)
        for other in snapshot.previews
    )  # fmt: skip
    label = "Pictures after so many updates"
    steps = element("div", quiet("after update"), selector, class_="ae-steps", role="group", aria_label=label)
    return box("grid", steps if len(snapshot.previews) > 1 else "", shown)


def _sheet(snapshot: Snapshot, names: Sequence[str], rows: Sequence[Row], step: int) -> Markup:
    """A row for every name; what it is called, and what is above it, in the page's own letters."""
    erased = snapshot.config.get("erase", ())
    after = f"after {step} {'update' if step == 1 else 'updates'}"
    lines = [
        element(
            "div",
            element("span", name, " ", quiet("erased" if name in erased else "protected"), class_="ae-row-name"),
            _shots(name, "before", row.before),
            _shots(name, after, row.after),
            class_="ae-row",
            role="group",
            aria_label=name,
        )
        for name, row in zip(names, rows, strict=True)
    ]
    columns = [element("span", word) for word in ("", "before", after)]
    head = element("div", *columns, class_="ae-row", aria_hidden="true")
    said = element("p", "Each with the same seeds before and after.", class_="ae-quiet")
    return element("div", head, *lines, class_="ae-sheet") + said


def _shots(name: str, when: str, urls: Sequence[str]) -> Markup:
    shown = [picture(url, f"{name}, {when}, seed {seed}", "shot") for url, seed in zip(urls, SEEDS, strict=True)]
    return element("span", *shown, class_="ae-shots")


def _whole_sheet(path: Path, names: Sequence[str], step: int) -> Markup:
    """For a preview that was laid out by another version."""
    said = f"Pictures of {', '.join(names)}: on the left before, on the right after {step} updates"
    return picture(sheet_url(path), said, "grid-picture")


def pair_html(without: Image, with_it: Image, prompt: str, about: str) -> Markup:
    """Two pictures of one prompt and seed, without and with a LoRA; ``about`` says with which, and what changed."""
    figures = [
        element(
            "figure",
            picture(data_url(image, 768), f"{prompt}, {name}", "try-picture"),
            element("figcaption", name),
            class_="ae-figure",
        )
        for image, name in ((without, "without"), (with_it, "with"))
    ]
    return box("try", element("div", *figures, class_="ae-pair"), element("p", about, class_="ae-quiet"))


def _names(snapshot: Snapshot) -> list[str]:
    erased: Any = snapshot.config.get("erase", ())
    preserved: list[str] = []
    for target in (snapshot.plan or {}).get("space", {}).get("targets", ())[:1]:
        preserved = [row["text"] for row in target["preserved"]]
    chosen = list(snapshot.config.get("preserve", ()))[:2]
    return [*erased[:5], *chosen, *preserved[:2], *(preserved[-1:] if len(preserved) > 2 else [])]
