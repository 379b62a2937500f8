"""What a siege keeps in its folder: what each attack found, its pictures, and the untouched model's."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from erasure import bounded_json
from erasure.attacks.outcome import Outcome
from erasure.concepts.space import ConceptSpace
from erasure.errors import RunError
from erasure.judge.album import Album
from erasure.run.state import load_state, save_state
from erasure.whole_file import write_json

_LONGEST = 40
_T = TypeVar("_T")


class Archive:
    """A folder. The names of files say on what and with which settings an attack was made.

    So a siege that was interrupted goes on with the next attack, and one with other settings replaces nothing.
    ``untouched``: what the untouched model's pictures depend on, as JSON types; ``lora``: what attacks depend on
    besides. ``album``: a file that several sieges of the same model may share, None: one in the folder. Raises: OSError
    if the folder cannot be made.
    """

    def __init__(self, folder: Path, untouched: object, lora: object, album: Path | None = None):
        self.folder = folder
        self._known = [untouched, lora]
        self._album = album or folder / f"untouched-{_digest(untouched)}.safetensors"
        folder.mkdir(parents=True, exist_ok=True)

    def name(self, target: str, attack: str, decides: object) -> str:
        """Return what the files of an attack are called. ``decides``: what its outcome depends on, as JSON types."""
        slug = re.sub(r"[^a-z0-9]+", "-", target.lower())[:_LONGEST].strip("-") or "concept"
        return f"{slug}-{attack}-{_digest([self._known, target, attack, decides])}"

    def outcome(self, name: str) -> Outcome | None:
        """Return what an attack found earlier, None if it was not made. Raises: RunError if the file is damaged."""
        return _read(self.folder / f"{name}.json", Outcome.from_dict, "make the attack again")

    def keep(self, name: str, outcome: Outcome) -> None:
        """Write what an attack found. Raises: OSError."""
        write_json(self.folder / f"{name}.json", outcome.to_dict())

    def pictures(self, name: str) -> Path:
        """Return the folder for the pictures of an attack."""
        return self.folder / "pictures" / name

    def sheet(self, name: str) -> Path:
        """Return the file for a sheet of an attack's pictures."""
        return self.folder / f"{name}.png"

    def space(self, key: object) -> ConceptSpace | None:
        """Return the concept space that was kept, None if there is none. Raises: RunError if the file is damaged."""
        return _read(self._space(key), ConceptSpace.from_dict, "measure it again")

    def keep_space(self, key: object, space: ConceptSpace) -> None:
        """Write a concept space. Raises: OSError."""
        write_json(self._space(key), space.to_dict())

    def load_album(self, album: Album) -> None:
        """Put the pictures that were drawn earlier into an album. Raises: RunError if the file is damaged."""
        if self._album.exists():
            album.load(*load_state(self._album))

    def keep_album(self, album: Album) -> None:
        """Write the pictures of an album. Raises: RunError."""
        self._album.parent.mkdir(parents=True, exist_ok=True)
        save_state(self._album, album.tensors(), album.meta())

    def _space(self, key: object) -> Path:
        return self.folder / f"space-{_digest([self._known, key])}.json"


def _read(path: Path, make: Callable[[Any], _T], again: str) -> _T | None:
    """Return what ``make`` makes of a file, None if there is none.

    Raises: RunError, which says what to do ``again``.
    """
    if not path.exists():
        return None
    try:
        return make(bounded_json.read(path))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path.name} cannot be read ({error}); delete it to {again}") from error


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
