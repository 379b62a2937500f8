"""Folders of shared LoRAs in a host's data folder, each with a zip file beside it to be downloaded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from erasure.errors import JobConflict, JobNotFound
from erasure.jobs.problems import described
from erasure.whole_file import whole_file

if TYPE_CHECKING:
    from erasure.share.order import ShareOrder

_ZIP = ".zip"


@dataclass(frozen=True)
class Shared:
    """A LoRA that was made ready to be passed on. ``files``: paths within its folder; ``notes``: one line each."""

    name: str
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**asdict(self), "files": list(self.files), "notes": list(self.notes)}


class Sharing:
    """The shared LoRAs in ``folder``, which need not exist yet. Any thread may call any method."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._one_at_a_time = Lock()
        self._held: set[str] = set()

    def share(self, order: ShareOrder, *, overwrite: bool = False) -> Shared:
        """Make the folder of a LoRA, called like its file, and its zip file.

        Raises: OutputExists if it was shared before and ``overwrite`` is off; JobConflict while it is held; EraseError.
        """
        from erasure.share.folder import share_lora

        name = order.lora.stem
        with described(), self._one_at_a_time:
            if name in self._held:
                raise JobConflict(f"{name} is being uploaded: cancel that, or wait until it ends")
            self.folder.mkdir(parents=True, exist_ok=True)
            made = share_lora(order, self.folder / name, overwrite=overwrite)
            self._zip(name, made.files)
        return Shared(name, made.files, made.notes)

    def folder_of(self, name: str) -> Path:
        """Return the folder of a shared LoRA. ``name`` is only compared with those that are there.

        Raises: JobNotFound."""
        if name not in self.names():
            raise JobNotFound(f"no LoRA {name[:60]!r} was shared here; make its folder first")
        return self.folder / name

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Let nobody share a LoRA anew meanwhile: its folder is being read."""
        with self._one_at_a_time:
            self._held.add(name)
        try:
            yield
        finally:
            with self._one_at_a_time:
                self._held.discard(name)

    def zip_file(self, name: str) -> Path:
        """Return the zip file of a shared LoRA. ``name`` is only compared with those that are there.

        Raises: JobNotFound.
        """
        for path in _entries(self.folder):
            if path.name == f"{name}{_ZIP}" and path.is_file() and not path.is_symlink():
                return path
        raise JobNotFound(f"no LoRA {name[:60]!r} was shared here")

    def names(self) -> list[str]:
        """Return the names of all that were shared, in alphabetical order."""
        return sorted(path.stem for path in _entries(self.folder) if path.suffix == _ZIP and path.is_file())

    def _zip(self, name: str, files: Iterable[str]) -> None:
        """Write the zip file; the files in it lie in a folder called like the LoRA."""
        with whole_file(self.folder / f"{name}{_ZIP}") as temporary, zipfile.ZipFile(temporary, "w") as packed:
            for file in files:
                packed.write(self.folder / name / file, f"{name}/{file}")


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
