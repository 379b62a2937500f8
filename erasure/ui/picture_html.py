"""Pictures inside the page's HTML, as data: nothing is served, so nothing has to be guarded or can go stale."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from erasure.jobs.job import ACTIVE, Snapshot
from erasure.run.picture_folder import Role, Subject
from erasure.run.preview import RunPreview
from erasure.training.update_count import updates
from erasure.ui.html import box, button, element, empty_html, join, picture, quiet

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
    """Return an image as the address of its own data: PNG up to ``lossless``² pixels, JPEG above."""
    image = image.convert("RGB")
    if image.width > widest:
        image = image.resize((widest, max(1, round(image.height * widest / image.width))))
    buffer = io.BytesIO()
    small = image.width * image.height <= lossless**2
    image.save(buffer, **({"format": "PNG"} if small else {"format": "JPEG", "quality": 88}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def thumbnail_url(preview: RunPreview) -> str:
    """Return the address of the first subjects before (left) and after (right); "" if they cannot be read."""
    try:
        return "" if preview.is_sheet else _thumbnail_url(preview, preview.place.stat().st_mtime_ns)
    except (OSError, ValueError):
        return ""


# Encoded once for as long as the files stay the same: ``time`` is when they last changed.
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
    """Return the step whose grid is shown: the wanted one if it is there, else the last; None without any."""
    if wanted in snapshot.previews:
        return wanted
    return snapshot.previews[-1] if snapshot.previews else None


def grid_html(snapshot: Snapshot | None, preview: RunPreview | None) -> Markup:
    """Return the pictures of a preview before and after, with a selector of steps if there are several."""
    if snapshot is None or preview is None:
        return empty_html(
            "Pictures before and after will be shown here.",
            "They show the erased concept, protected neighbours and an unrelated concept, each with the same seeds.",
        )
    step = preview.step
    if step is None:
        return _before(preview, still="Those after are still to come." if snapshot.state in ACTIVE else "")
    try:
        time = preview.place.stat().st_mtime_ns
        shown = _whole_sheet(snapshot, preview, time) if preview.is_sheet else _sheet(_rows(preview, time), step)
    except (OSError, ValueError):
        return empty_html("The pictures of this step cannot be read any more.")
    selector = join(
        button(str(other), "step", str(other), title="show the pictures after this many updates", kind="step",
               pressed=other == step)
        for other in snapshot.previews
    )  # fmt: skip
    label = "Choose the pictures by number of updates"
    steps = element("div", quiet("after update"), selector, class_="ae-steps", role="group", aria_label=label)
    return box("grid", steps if len(snapshot.previews) > 1 else "", shown)


def _before(preview: RunPreview, still: str) -> Markup:
    """Return the pictures from before, beside empty places for those after; ``still`` says more about these."""
    try:
        rows = _rows(preview, preview.place.stat().st_mtime_ns)
    except (OSError, ValueError):
        return empty_html("The pictures from before cannot be read any more.")
    return box("grid", _sheet(rows, None, still))


def _sheet(rows: Sequence[ShownRow], step: int | None, more: str = "") -> Markup:
    """Return a row for every subject; names and column heads are text of the page, not part of a picture."""
    after = _after(step)
    lines = [
        element(
            "div",
            element("span", row.subject.concept, " ", quiet(ROLES[row.subject.role]), class_="ae-row-name"),
            _shots(row, "before", row.before),
            _shots(row, after, row.after),
            class_="ae-row",
            role="group",
            aria_label=row.subject.concept,
        )
        for row in rows
    ]
    columns = [element("span", word) for word in ("", "before", after)]
    head = element("div", *columns, class_="ae-row", aria_hidden="true")
    said = element("p", " ".join(filter(None, ("The same seeds before and after.", more))), class_="ae-quiet")
    return element("div", head, *lines, class_="ae-sheet") + said


def _after(step: int | None) -> str:
    return "after training" if step is None else f"after {updates(step)}"


def _shots(row: ShownRow, when: str, urls: Sequence[str]) -> Markup:
    name = row.subject.concept
    if not urls:
        return element("span", *(element("span", class_="ae-shot ae-shot-none") for _ in row.seeds), class_="ae-shots")
    shown = [picture(url, f"{name}, {when}, seed {seed}", "shot") for url, seed in zip(urls, row.seeds, strict=True)]
    return element("span", *shown, class_="ae-shots")


def _whole_sheet(snapshot: Snapshot, preview: RunPreview, time: int) -> Markup:
    """Return the one picture that version 0.1.0 kept of a preview; what it shows follows from the run."""
    names = ", ".join(dict.fromkeys(_names(snapshot)))
    said = f"Pictures of {names}: on the left before, on the right {_after(preview.step)}"
    return picture(_sheet_url(preview, time), said, "grid-picture")


def pair_html(without: Image, with_it: Image, prompt: str, about: str) -> Markup:
    """Return two pictures of one prompt and seed, without and with a LoRA; ``about`` is a line about them."""
    return _tried([(without, "without"), (with_it, "with")], prompt, about)


def single_html(drawn: Image, prompt: str, name: str, about: str) -> Markup:
    """Return one picture that was drawn to try a LoRA, under a name; ``about`` is a line about it."""
    return _tried([(drawn, name)], prompt, about)


def _tried(drawn: Sequence[tuple[Image, str]], prompt: str, about: str) -> Markup:
    figures = [
        element(
            "figure",
            picture(data_url(image, 768), f"{prompt}, {name}", "try-picture"),
            element("figcaption", name),
            class_="ae-figure",
        )
        for image, name in drawn
    ]
    return box("try", element("div", *figures, class_="ae-pair"), element("p", about, class_="ae-quiet"))


def _names(snapshot: Snapshot) -> list[str]:
    erased: Any = snapshot.config.get("erase", ())
    first = snapshot.plan.space.targets[:1] if snapshot.plan is not None else ()
    preserved = [candidate.text for target in first for candidate in target.preserved]
    chosen = list(snapshot.config.get("preserve", ()))[:2]
    return [*erased[:5], *chosen, *preserved[:2], *(preserved[-1:] if len(preserved) > 2 else [])]
