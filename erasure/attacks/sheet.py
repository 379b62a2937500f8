"""A sheet of an attack's pictures: the attempts that succeed most, without the LoRA above and with it below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from erasure.attacks.outcome import Attempt
from erasure.run.picture_sheet import picture_grid
from erasure.whole_file import whole_file

_MOST = 8
_SIDE = 128
_TITLE = 20  # letters above a picture


def write_sheet(path: Path, folder: Path, attempts: Sequence[Attempt]) -> None:
    """Write the sheet; none if the folder has no pictures of these attempts. Raises: OSError."""
    shown = [attempt for attempt in attempts if attempt.counts and attempt.pictures]
    if not any(attempt.steps for attempt in shown):  # else in the order of the steps
        shown.sort(key=lambda attempt: -sum(attempt.erased))
    shown = shown[:_MOST]
    if len(shown) == 1:  # all pictures of the only one
        columns = [(shown[0], i) for i in range(min(_MOST, len(shown[0].erased)))]
    else:
        columns = [(attempt, max(range(len(attempt.erased)), key=attempt.erased.__getitem__)) for attempt in shown]
    if not columns:
        return
    rows = [
        (state, [small_picture(folder, attempt, at, erased=erased) for attempt, at in columns])
        for state, erased in (("untouched", False), ("erased", True))
    ]
    sheet = picture_grid([title(attempt) for attempt, _ in columns], rows)
    with whole_file(path) as temporary:
        sheet.save(temporary, format="PNG")


def title(attempt: Attempt) -> str:
    """Return what stands above an attempt's picture."""
    name = attempt.prompt or attempt.kind
    return f"{name[: _TITLE - 10]}, {attempt.steps} steps" if attempt.steps else name[:_TITLE]


def small_picture(folder: Path, attempt: Attempt, number: int, *, erased: bool) -> Image.Image:
    """Return one of an attempt's pictures of the erased or of the untouched model, as small as a sheet has them.

    ``folder``: where the attack's pictures are. Raises: OSError.
    """
    name = attempt.pictures[number + (len(attempt.erased) if erased else 0)]
    with Image.open(folder / f"{name}.png") as picture:
        return picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
