"""The place of a run's LoRA file: whether it can be written, and how the file gets there. Needs no torch."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path

from erasure.errors import OutputExists, RunError
from erasure.whole_file import whole_file


def check_output(out: Path, *, overwrite: bool) -> None:
    """Check, before any work is done, that the LoRA file can be written. Raises: OutputExists, RunError if not."""
    if out.suffix != ".safetensors":
        raise RunError(f"the output {out.name} must end in .safetensors, so that web UIs can load it")
    if out.exists() and not overwrite:
        raise OutputExists(f"{out} exists; choose another name, or ask to overwrite it")
    parent = out.parent
    if not parent.is_dir():
        raise RunError(f"the folder {parent} does not exist; create it, or choose another place for the output")
    if not os.access(parent, os.W_OK):
        raise RunError(f"the folder {parent} cannot be written; choose another place for the output")


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
