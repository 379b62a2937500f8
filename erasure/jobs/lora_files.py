"""The files of the Lora folder, by names that lead nowhere else."""

from __future__ import annotations

from pathlib import Path

from erasure.errors import ConfigError, shown
from erasure.file_tree import files_below

SUFFIX = ".safetensors"
_LISTED = 10  # names, where the one that was asked for is not among them


def lora_names(folder: Path) -> list[str]:
    """Return the names of all LoRA files in the folder and below: their paths within it, without the ending."""
    files = [path for path in files_below(folder) if path.name.endswith(SUFFIX) and path.is_file()]
    names = (path.relative_to(folder).as_posix().removesuffix(SUFFIX) for path in files)
    return sorted(names, key=str.casefold)


def lora_file(folder: Path, name: str) -> Path:
    """Return the file with this name, with or without its ending and, if there is only one, its sub-folder.

    Requests must not be able to name any other file, so the name is only compared with those that are there. Raises:
    ConfigError.
    """
    every, wanted = lora_names(folder), name.removesuffix(SUFFIX)
    found = [one for one in every if one == wanted] or [one for one in every if one.rpartition("/")[2] == wanted]
    if len(found) == 1:
        return folder / f"{found[0]}{SUFFIX}"
    if found:
        raise ConfigError(
            [f"lora: several files are called {shown(name)}; choose one of {', '.join(map(repr, found))}"]
        )
    if not name:
        raise ConfigError(["lora: choose a file of the Lora folder"])
    there = ", ".join(map(repr, every[:_LISTED])) or "none"
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    raise ConfigError([f"lora: there is no {name[:100]!r} in the Lora folder; there are {there}{more}"])
