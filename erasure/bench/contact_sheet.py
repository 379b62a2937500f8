"""Pictures side by side: the same prompts and seeds before, and after every method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from erasure.bench.results import Row
from erasure.bench.statistics import by_variant
from erasure.core.pictures import picture_grid

SIDE = 96
PER_GROUP = 5
MOST_METHODS = 10


def contact_sheet(folders: Sequence[Path], rows: Sequence[Row]) -> Image.Image | None:
    """Of one target set and seed: the first that most methods have. None where no pictures are kept."""
    places: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        places.setdefault((row["set"], row["seed"]), []).append(row)
    own = max(places.values(), key=lambda some: len({row["variant"] for row in some}))
    methods = [runs[-1] for runs in by_variant(own).values()][:MOST_METHODS]
    shown: dict[str, str] = {}
    for group, names in methods[0].get("shown", {}).items():
        for name in names:
            shown.setdefault(name, "erased" if group == "ESR" else "kept")
    found = []
    for name, what in shown.items():
        base = _find(folders, f"{methods[0].get('base_folder')}/{name}.png")
        after = [_find(folders, f"{row.get('pictures_folder')}/{name}.png") for row in methods]
        if base and all(after):
            found.append((f"{what}: {name.replace('/', ', ')}", [_small(path) for path in (base, *after) if path]))
    if not found:
        return None
    return picture_grid(["before", *(row["variant"] for row in methods)], found)


def shown_names(names: Sequence[str]) -> list[str]:
    """A few of a group's pictures, evenly spaced: one per concept where concepts are few."""
    count = min(PER_GROUP, len(names))
    return [names[i * len(names) // count + (i % max(1, len(names) // count))] for i in range(count)]


def _find(folders: Sequence[Path], place: str) -> Path | None:
    return next((folder / place for folder in folders if (folder / place).is_file()), None)


def _small(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
