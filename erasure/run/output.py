"""The place of a run's LoRA file: whether it can be written, and how the file gets there. Needs no torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from erasure.errors import OutputExists, OutputRefused, RunError
from erasure.whole_file import whole_file

_LORA = ".safetensors"


def check_output(out: Path, *, overwrite: bool, suffix: str = _LORA, read: Iterable[Path | None] = ()) -> None:
    """Check, before any work is done, that a file can be written: of a LoRA, or of another kind with another suffix.

    ``read``: files and folders that the work reads, which are never overwritten, even if that was asked for. A file is
    made beside it for a moment, since permissions alone do not tell. Raises: OutputExists, OutputRefused.
    """
    try:
        problem = _problem(out, overwrite, suffix) or _read_problem(out, read)
    except UnicodeEncodeError as error:
        raise OutputRefused(f"the output {out.name!r} is not valid text in this system; choose another name") from error
    except ValueError as error:  # a zero byte
        raise OutputRefused(f"the output {str(out)!r} cannot be a name of a file ({error}); choose another") from error
    except OSError as error:
        raise OutputRefused(
            f"the output {_short(out)} cannot be written: {error.strerror or error}; choose another name or place"
        ) from error
    if problem:
        raise OutputRefused(f"the output {_short(out)} {problem}")


def _problem(out: Path, overwrite: bool, suffix: str) -> str:
    """Return what is wrong with the place, as the rest of a sentence. Raises: OutputExists, OSError, ValueError."""
    out.name.encode()  # what is written about a file must be able to name it
    if suffix == _LORA and out.suffix != suffix:
        return f"must end in {suffix}, so that web UIs can load it"
    if out.suffix.lower() != suffix:
        return f"must end in {suffix}"
    if out.is_dir():
        return "is a folder; give the name of a file"
    if out.exists() and not overwrite:
        raise OutputExists(f"{out} exists; choose another name, or ask to overwrite it")
    if not out.parent.is_dir():
        return f"is to lie in the folder {out.parent}, which does not exist; create it, or choose another place"
    # A stopped run adds to the name, and a file that is being written to that.
    longest = out.with_name(f"{out.stem}-step100000-2{out.suffix}")
    with suppress(_Tried), whole_file(longest) as temporary:
        temporary.touch()
        raise _Tried
    return ""


def _read_problem(out: Path, read: Iterable[Path | None]) -> str:
    if not out.exists():
        return ""
    for path in read:
        with suppress(OSError):  # whoever reads it will tell what is wrong with it
            if path is not None and (out.samefile(path) or path.resolve() in out.resolve().parents):
                return "is read as well, and so is never overwritten; choose another name"
    return ""


class _Tried(Exception):
    """The file could be made, and is to be taken away again."""


def _short(out: Path) -> str:
    text = str(out)
    return text if len(text) <= 120 else f"{text[:60]}...{text[-40:]}"


def stopped_name(out: Path, step: int) -> Path:
    """Return the path for the LoRA of a stopped run: a name of its own that no file has yet.

    It is never the final name, since a web UI that has loaded a file does not notice when another takes its name.
    """
    path = out.with_name(f"{out.stem}-step{step}.safetensors")
    for again in count(2):
        if not path.exists():
            break
        path = out.with_name(f"{out.stem}-step{step}-{again}.safetensors")
    return path


def place_lora(source: Path, out: Path, *, overwrite: bool) -> None:
    """Copy the finished file to ``out``, which is then there whole or not at all. Raises: RunError, OutputExists."""
    try:
        with whole_file(out) as temporary:
            shutil.copyfile(source, temporary)
            if out.exists() and not overwrite:
                raise OutputExists(f"another file took the name {out} during training; the LoRA is at {source}")
    except OSError as error:
        raise RunError(f"{out} could not be written: {error}; the LoRA is safe at {source}") from error
