"""The tensors of a LoRA file, read whenever they are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from erasure.errors import LoraFileError
from erasure.safetensors_file import DamagedFile, read_tensors, stamp


class StoredTensors(Mapping[str, Tensor]):
    """Tensors that take no memory until they are asked for, each time anew.

    ``names``: what each is called here -> in the file. Raises, whenever it reads: LoraFileError if the file cannot be
    read, or is not the one any more that it was at first.
    """

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        self._path, self._names = path, dict(names)
        with self._reading():
            self._stamp = stamp(path)

    def __getitem__(self, name: str) -> Tensor:
        return self._read([self._names[name]])[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def held(self) -> dict[str, Tensor]:
        """Return all of them, in memory."""
        return dict(zip(self, self._read(self._names.values()), strict=True))

    def _read(self, stored: Collection[str]) -> list[Tensor]:
        with self._reading():
            tensors = read_tensors(self._path, stored)
            if stamp(self._path) != self._stamp:
                raise LoraFileError(f"{self._path.name} was changed or replaced while it was in use; try again")
        return [tensors[name] for name in stored]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (DamagedFile, OSError) as error:
            raise unreadable(self._path, error) from error


def unreadable(path: Path, error: DamagedFile | OSError) -> LoraFileError:
    """Return the error that says why a LoRA file cannot be read, and what to do."""
    if isinstance(error, OSError):
        return LoraFileError(f"{path.name} cannot be read ({error.strerror or error}); check the path and permissions")
    truncated = error.what.startswith(("truncated", "empty"))
    what = "truncated" if truncated else "truncated, damaged or not a safetensors file"
    return LoraFileError(f"{path.name} is {what} ({error}); download it again")
