"""Pictures inside of the page's HTML, as data: nothing to be served, so nothing to be guarded or to go stale."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure.jobs.job import Snapshot
from erasure.ui.html import box, button, empty_html, picture, text

if TYPE_CHECKING:
    from PIL.Image import Image

# Widest picture in pixels; a grid of 512-pixel pictures is larger than any page.
WIDEST = 1536
THUMBNAIL = 96


def data_url(image: Image, widest: int = WIDEST) -> str:
    """Lossless while it is small, JPEG otherwise."""
    image = image.convert("RGB")
    if image.width > widest:
        image = image.resize((widest, max(1, round(image.height * widest / image.width))))
    buffer = io.BytesIO()
    small = image.width * image.height <= 512 * 512
    image.save(buffer, **({"format": "PNG"} if small else {"format": "JPEG", "quality": 88}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def file_url(path: Path, widest: int = WIDEST) -> str:
    """The picture in a file, "" if it cannot be read (any more)."""
    try:
        return _file_url(path, path.stat().st_mtime_ns, widest)
    except OSError:
        return ""


@lru_cache(maxsize=64)
def _file_url(path: Path, time: int, widest: int) -> str:
    from PIL import Image

    with Image.open(path) as image:
        return data_url(image, widest)


def shown_step(snapshot: Snapshot, wanted: int | None) -> int | None:
    """The step whose grid is shown: the wanted one if there is one, else the last."""
    if wanted in snapshot.previews:
        return wanted
    return snapshot.previews[-1] if snapshot.previews else None


def grid_html(snapshot: Snapshot | None, path: Path | None, step: int | None) -> str:
    """The before/after grid of ``step``, read from ``path``, and a selector of steps where there are several."""
    if snapshot is None or step is None or path is None:
        return empty_html(
            "Pictures before and after will be shown here.",
            "The erased concept, neighbours that are protected, and something else: each with the same seeds.",
        )
    prompts = ", ".join(dict.fromkeys(_prompts(snapshot)))
    shown = picture(
        file_url(path), f"Pictures of {prompts}: on the left before, on the right after {step} updates", "grid-picture"
    )
    if not shown:
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
    caption = f"<figcaption>Same seeds: left before, right after {step} updates. {text(prompts)}</figcaption>"
    return box("grid", steps, f'<figure class="ae-figure">{shown}{caption}</figure>')


def pair_html(without: Image, with_it: Image, prompt: str, about: str) -> str:
    """Two pictures of one prompt and seed, without and with a LoRA; ``about`` says with which, and what changed."""
    figures = "".join(
        f'<figure class="ae-figure">{picture(data_url(image, 768), f"{prompt}, {name}", "try-picture")}'
        f"<figcaption>{text(name)}</figcaption></figure>"
        for image, name in ((without, "without"), (with_it, "with"))
    )
    return box("try", f'<div class="ae-pair">{figures}</div><p class="ae-quiet">{text(about)}</p>')


def _prompts(snapshot: Snapshot) -> list[str]:
    erased: Any = snapshot.config.get("erase", ())
    preserved: list[str] = []
    for target in (snapshot.plan or {}).get("space", {}).get("targets", ())[:1]:
        preserved = [row["text"] for row in target["preserved"]]
    chosen = list(snapshot.config.get("preserve", ()))[:2]
    return [*erased[:5], *chosen, *preserved[:2], *(preserved[-1:] if len(preserved) > 2 else [])]
