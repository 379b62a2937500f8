"""The files below a folder, through symbolic links and junctions, as web UIs see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield (folder, names of its folders, names of its files) for the folder and all below, in sorted order.

    Links to folders are entered, as AUTOMATIC1111 and Forge do (``os.walk(followlinks=True)``), but no folder through
    two links, and none from within itself: links may lead in circles. A caller may remove names from the list of
    folders, and they are not entered. What cannot be read is left out; a link that leads nowhere counts as a file.
    """
    yield from _walk(folder, (), set())


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in the folder and below, see :func:`walk`; nothing if there is no such folder."""
    for place, _, files in walk(folder):
        yield from (place / name for name in files)


def _walk(folder: Path, above: tuple[Path, ...], linked: set[Path]) -> Iterator[tuple[Path, list[str], list[str]]]:
    real = Path(os.path.realpath(folder))
    if above and real.parent != above[-1]:  # a link, or a junction, which Python before 3.12 cannot ask for
        if real in above or real in linked:
            return
        linked.add(real)
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if _is_folder(entry) else files).append(entry.name)
    except OSError:
        return
    folders.sort()
    yield folder, folders, sorted(files)
    for name in folders:
        yield from _walk(folder / name, (*above, real), linked)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()  # of what a link leads to
    except OSError:
        return False
