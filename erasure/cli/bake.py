"""``python -m erasure bake``: a checkpoint with the change of LoRAs in its weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from erasure.cli.flags import Commands, add_command, print_notes
from erasure.cli.printable import printable
from erasure.cli.shares import with_shares
from erasure.errors import ConfigError
from erasure.families.known import supported

_SUFFIX = ".safetensors"


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "bake", "write a checkpoint with LoRAs in its weights")
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="FILE",
        help=f"{supported()} checkpoint, a file or a diffusers folder; it stays as it is")  # fmt: skip
    add("--lora", action="append", required=True, metavar="FILE[:WEIGHT]",
        help="a LoRA file and its weight, as in <lora:name:weight> (default: 1); repeat for several")  # fmt: skip
    add("--out", type=Path, required=True, metavar=f"FILE{_SUFFIX}",
        help="the checkpoint to write; of a diffusers folder, a folder")  # fmt: skip
    add("--overwrite", action="store_true", help="replace an existing --out; a folder is never replaced")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the path of the new checkpoint and what came of it; notes and progress go to stderr."""
    loras = [lora_and_weight(text) for text in arguments.lora]
    from erasure.bake.task import bake_task

    task = bake_task(arguments.checkpoint, loras, arguments.out, overwrite=arguments.overwrite)
    # Not before: it loads torch, which reading the task does only after the largest part of its own work.
    from erasure.bake.baking import bake

    baked = with_shares(bake(task), "written")
    print_notes(baked.notes)
    print(printable(str(baked.out)))
    for line in baked.lines:
        print(printable(line))
    return 0


def lora_and_weight(text: str) -> tuple[Path, float]:
    """Read ``FILE`` or ``FILE:WEIGHT``; a file that has a colon in its name is found by its whole name.

    Raises: ConfigError if the weight is no number.
    """
    name, colon, weight = text.rpartition(":")
    if not colon or text.lower().endswith(_SUFFIX) or Path(text).is_file():
        return Path(text), 1.0
    try:
        return Path(name), float(weight)
    except ValueError:
        raise ConfigError([f"lora: {weight!r} in {text!r} is not a number; write FILE:0.8"]) from None
