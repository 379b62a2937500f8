"""Pictures after some updates beside those from before, read from the run folder and laid out. Needs no torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from erasure.run.folder import RunFolder
from erasure.run.picture_folder import INDEX, Picture, Subject, read_pictures
from erasure.run.picture_sheet import picture_grid


@dataclass(frozen=True)
class BeforeAfter:
    """The pictures of one subject, seed by seed; ``after`` is empty while there are none."""

    subject: Subject
    seeds: tuple[int, ...]
    before: tuple[Image.Image, ...]
    after: tuple[Image.Image, ...]


@dataclass(frozen=True)
class RunPreview:
    """The pictures before and after ``step`` updates of a run; only those before if ``step`` is None.

    A run of version 0.1.0 has only a sheet of them.
    """

    folder: RunFolder
    step: int | None

    @property
    def place(self) -> Path:
        """The file that is written last: if it is there, all pictures are."""
        if self.step is None:
            return self.folder.before / INDEX
        index = self.folder.pictures(self.step) / INDEX
        return index if index.is_file() else self.folder.sheet(self.step)

    @property
    def is_sheet(self) -> bool:
        """Whether there is only a sheet, as in runs of version 0.1.0."""
        return self.place.name != INDEX

    def rows(self) -> list[BeforeAfter]:
        """Return a row for every subject, in the order in which they were drawn. Raises: OSError, ValueError."""
        before = read_pictures(self.folder.before)
        if self.step is None:
            return _by_subject(before)
        return pair_rows(before, read_pictures(self.folder.pictures(self.step)))

    def sheet(self) -> Image.Image:
        """Return all of them as one labelled picture. Raises: OSError, ValueError."""
        if not self.is_sheet:
            return lay_out(self.rows())
        with Image.open(self.place) as opened:
            return opened.convert("RGB")

    def png(self) -> bytes:
        """Return :meth:`sheet` as a PNG file. Raises: OSError, ValueError."""
        buffer = io.BytesIO()
        self.sheet().save(buffer, format="PNG")
        return buffer.getvalue()


def pair_rows(before: Sequence[Picture], after: Sequence[Picture]) -> list[BeforeAfter]:
    """Pair pictures by prompt and seed. Raises: ValueError if none was drawn both before and after."""
    first = {(picture.subject.prompt, picture.seed): picture.image for picture in before}
    found: dict[Subject, list[Picture]] = {}
    for picture in after:
        if (picture.subject.prompt, picture.seed) in first:
            found.setdefault(picture.subject, []).append(picture)
    if not found:
        raise ValueError("no picture was drawn both before and after")
    return [
        BeforeAfter(
            subject,
            tuple(picture.seed for picture in pictures),
            tuple(first[subject.prompt, picture.seed] for picture in pictures),
            tuple(picture.image for picture in pictures),
        )
        for subject, pictures in found.items()
    ]


def _by_subject(before: Sequence[Picture]) -> list[BeforeAfter]:
    """Return a row for every subject, with nothing after. Raises: ValueError if there is none."""
    if not before:
        raise ValueError("there are no pictures")
    found: dict[Subject, list[Picture]] = {}
    for picture in before:
        found.setdefault(picture.subject, []).append(picture)
    return [
        BeforeAfter(subject, tuple(one.seed for one in pictures), tuple(one.image for one in pictures), ())
        for subject, pictures in found.items()
    ]


def lay_out(rows: Sequence[BeforeAfter]) -> Image.Image:
    """Lay out a sheet with a row for every prompt: before on the left, after (if any) on the right, seed by seed."""
    times = ("before", "after") if rows[0].after else ("before",)
    columns = [f"{when}, seed {seed}" for when in times for seed in rows[0].seeds]
    return picture_grid(columns, [(row.subject.prompt, [*row.before, *row.after]) for row in rows])
