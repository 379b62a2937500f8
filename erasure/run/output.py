"""The LoRA file of a run: whether it can be written, whether it works, and putting it in its place."""

from __future__ import annotations

import os
import shutil
from itertools import count
from pathlib import Path

from PIL import Image

from erasure.config.template import fill
from erasure.errors import IneffectiveLora, OutputExists, RunError
from erasure.lora.adapter import remove_lora
from erasure.lora.file import apply_lora_file, read_lora
from erasure.model.pictures import difference
from erasure.run.picture_sheet import SEEDS
from erasure.run.pictures import draw
from erasure.training.session import Session
from erasure.whole_file import whole_file

# A picture that the LoRA moves by less than this, of 255 levels, looks the same.
SMALLEST_CHANGE = 1.0


def check_output(out: Path, *, overwrite: bool) -> None:
    """Raises: OutputExists, RunError before any work is done for a file that could not be written."""
    if out.suffix != ".safetensors":
        raise RunError(f"the output {out.name} must end in .safetensors, which is what web UIs load as a LoRA")
    if out.exists() and not overwrite:
        raise OutputExists(f"{out} exists; choose another name, or ask to overwrite it")
    parent = out.parent
    if not parent.is_dir():
        raise RunError(f"the folder {parent} does not exist; make it, or choose another place for the output")
    if not os.access(parent, os.W_OK):
        raise RunError(f"the folder {parent} cannot be written; choose another place for the output")


def stopped_name(out: Path, step: int) -> Path:
    """Where the LoRA of a stopped run goes: a name of its own, which no file has yet.

    Never the final name: web UIs go on using a file from memory when another takes its name.
    """
    path = out.with_name(f"{out.stem}-step{step}.safetensors")
    for again in count(2):
        if not path.exists():
            break
        path = out.with_name(f"{out.stem}-step{step}-{again}.safetensors")
    return path


def check_lora(session: Session, path: Path, before: Image.Image) -> float:
    """Read a LoRA file back: every key has a layer, all is finite, and the first erased concept's picture changes.

    Takes the trained LoRA off the U-Net. Returns the picture's mean change in levels of 255. Raises: LoraFileError.
    """
    unet, config = session.model.unet, session.trainer.config
    file = read_lora(path)
    remove_lora(unet)
    apply_lora_file(unet, file)
    prompt = fill(config.templates[0], config.erase[0])
    after = draw(session, [prompt], SEEDS[:1], purpose="check")
    change = difference(before, after[0])
    if change < SMALLEST_CHANGE:
        raise IneffectiveLora(
            f"the LoRA was trained, but it does not change the picture of {prompt!r} (mean change {change:.2f} of 255 "
            "levels); use more steps, a higher learning_rate or a higher rank"
        )
    return change


def place_lora(source: Path, out: Path, *, overwrite: bool) -> None:
    """Copy the finished file; ``out`` is there whole or not at all. Raises: RunError, OutputExists."""
    try:
        with whole_file(out) as temporary:
            shutil.copyfile(source, temporary)
            if out.exists() and not overwrite:
                raise OutputExists(f"{out} appeared while training; the LoRA is at {source}")
    except OSError as error:
        raise RunError(f"{out} could not be written: {error}; the LoRA is safe at {source}") from error
