"""Pictures side by side: the same prompts and seeds before erasing, and after it with every method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from erasure.bench.results import Row
from erasure.bench.statistics import by_variant
from erasure.run.picture_sheet import picture_grid

SIDE = 110
TITLE = 19  # letters that fit above a picture
PER_GROUP = 5
MOST_METHODS = 10


def contact_sheet(folders: Sequence[Path], rows: Sequence[Row]) -> Image.Image | None:
    """Lay out one target set and seed: the first for which most methods still have their pictures.

    Returns None if ``folders`` hold none of the rows' pictures.
    """
    places: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        # Results outlive pictures: rows from another machine may come without theirs.
        if any((folder / row["pictures_folder"]).is_dir() for folder in folders):
            places.setdefault((row["set"], row["seed"]), []).append(row)
    if not places:
        return None
    own = max(places.values(), key=lambda some: len({row["variant"] for row in some}))
    methods = [runs[-1] for runs in by_variant(own).values()][:MOST_METHODS]
    shown: dict[str, str] = {}
    for group, names in methods[0]["shown"].items():
        for name in names:
            shown.setdefault(name, "erased" if group == "ESR" else "kept")
    columns: list[str] = []
    rows_of: list[tuple[str, list[Image.Image]]] = [(name, []) for name in ("before", *(r["variant"] for r in methods))]
    for name, what in shown.items():
        folders_of = [methods[0]["base_folder"], *(row["pictures_folder"] for row in methods)]
        paths = [path for folder in folders_of if (path := _find(folders, f"{folder}/{name}.png"))]
        if len(paths) == len(rows_of):
            columns.append(_title(name, what, methods[0]["family"] == "styles"))
            for (_, pictures), path in zip(rows_of, paths, strict=True):
                pictures.append(_small(path))
    return picture_grid(columns, rows_of) if columns else None


def shown_names(names: Sequence[str]) -> list[str]:
    """Choose a few of a group's pictures, evenly spaced: one per concept if there are few concepts."""
    count = min(PER_GROUP, len(names))
    return [names[i * len(names) // count + (i % max(1, len(names) // count))] for i in range(count)]


def _title(name: str, what: str, styles: bool) -> str:
    """Return a title that fits above a picture: the concept (or style), and whether it was erased."""
    concept, _, rest = name.partition("/")
    shown = rest.split("-")[0] if styles else concept
    return shown[: TITLE - 9] + " (erased)" if what == "erased" else shown[:TITLE]


def _find(folders: Sequence[Path], place: str) -> Path | None:
    return next((folder / place for folder in folders if (folder / place).is_file()), None)


def _small(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
