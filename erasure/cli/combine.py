"""``python -m erasure combine``: several erasures as one LoRA file, exactly, compressed, or trained on together."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure.cli.bake import lora_and_weight
from erasure.cli.flags import Commands, add_command, add_model_flags, opening_of, print_notes
from erasure.cli.printable import printable
from erasure.cli.shares import with_shares
from erasure.combine.rows import ROWS
from erasure.config.values import config_from_file
from erasure.console import json_text
from erasure.errors import ConfigError
from erasure.model.device import default_device
from erasure.run.output import check_output

if TYPE_CHECKING:
    from erasure.combine.task import CombineTask

_REFINING = ("rows", "config", "folder")


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "combine", "make one LoRA file of several")
    add = parser.add_argument
    add("loras", nargs="+", metavar="FILE[:WEIGHT]",
        help="the LoRA files, each with its weight, as in <lora:name:weight> (default: 1)")  # fmt: skip
    add("--weight", action="append", type=float, metavar="X",
        help="one weight for all files, or repeated, one for each in their order")  # fmt: skip
    add("--rank", type=int, default=0, metavar="N",
        help="compress every layer to this rank; 0 = the exact sum, whose rank is that of all files together (default: "
        "0)")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FILE.safetensors", help="the LoRA file to write")
    add("--overwrite", action="store_true", help="replace an existing --out")
    add("--erase", action="append", metavar="TEXT", help="what a file erases that does not say it; repeat for several")
    add("--preserve", action="append", metavar="TEXT", help="a concept to preserve besides; repeat for several")
    add("--json", action="store_true", help="print everything about the new file as JSON")
    add_model_flags(parser, required=False)
    refining = parser.add_argument_group("refining: a short training from all of them, over all that they erase and "
                                         "preserve")  # fmt: skip
    refining.add_argument("--refine", action="store_true", help="train on; needs --checkpoint")
    refining.add_argument("--rows", type=int, metavar="N",
                          help="U-Net rows that joining, training and looks may take; joining takes 12 for each file "
                          f"and about 280 besides, and one update is always made (default: {ROWS})")  # fmt: skip
    refining.add_argument("--config", type=Path, metavar="FILE.json", help="settings in place of those of the files")
    refining.add_argument("--run", dest="folder", type=Path, metavar="DIR", help="run folder (default: runs/OUT-TIME)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the path of the new file and what came of it; notes and progress go to stderr.

    With ``--checkpoint``, pictures are drawn beside it; with ``--refine`` it is shown like ``train``.
    """
    _check_flags(arguments)
    from erasure.combine.task import combine_task

    task = combine_task(
        _weighted(arguments.loras, arguments.weight),
        arguments.out,
        rank=arguments.rank,
        overwrite=arguments.overwrite,
        erase=arguments.erase or (),
        preserve=arguments.preserve or (),
        given=config_from_file(arguments.config) if arguments.config else None,
    )
    return _refine(arguments, task) if arguments.refine else _combine(arguments, task)


def _check_flags(arguments: argparse.Namespace) -> None:
    """Raises: ConfigError."""
    problems = []
    if arguments.refine and arguments.checkpoint is None:
        problems.append("--checkpoint: needed to refine; name the checkpoint that the files were made from")
    if arguments.refine and arguments.json:
        problems.append("--json: does not go with --refine, which makes a run: its figures are in the run folder")
    given = [{"folder": "--run"}.get(name, f"--{name}") for name in _REFINING if getattr(arguments, name) is not None]
    if given and not arguments.refine:
        problems.append(f"{', '.join(given)}: only with --refine")
    if problems:
        raise ConfigError(problems)


def _weighted(texts: list[str], weights: list[float] | None) -> list[tuple[Path, Any]]:
    """Return the files with their weights. Raises: ConfigError."""
    loras = [lora_and_weight(text) for text in texts]
    if not weights:
        return list(loras)
    if any(path != Path(text) for (path, _), text in zip(loras, texts, strict=True)):
        raise ConfigError(["--weight: does not go with FILE:WEIGHT; give the weights in one way"])
    if len(weights) not in (1, len(loras)):
        raise ConfigError([f"--weight: {len(weights)} weights for {len(loras)} files; give one, or one for each"])
    every = weights * len(loras) if len(weights) == 1 else weights
    return [(path, weight) for (path, _), weight in zip(loras, every, strict=True)]


def _combine(arguments: argparse.Namespace, task: CombineTask) -> int:
    from erasure.combine.combining import combine
    from erasure.combine.pictures import check_fit, comparison, pictures_beside
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.whole_file import whole_file

    sheet = pictures_beside(task.out)
    if arguments.checkpoint is not None:
        check_output(sheet, overwrite=arguments.overwrite, suffix=sheet.suffix)
        checkpoint = inspect_checkpoint(arguments.checkpoint).opened(opening_of(arguments))
        check_fit(task, checkpoint)
    made = with_shares(combine(task), "combined")
    print_notes(made.notes)
    if arguments.checkpoint is not None:
        drawn = with_shares(comparison(task, checkpoint, arguments.device or default_device()), "drawn")
        with whole_file(sheet) as temporary:
            drawn.sheet.save(temporary, format="PNG")
    if arguments.json:
        print(json_text(made.to_dict()))
        return 0
    print(printable(str(made.out)))
    for line in made.lines:
        print(printable(line))
    if arguments.checkpoint is not None:
        print(printable(f"pictures: {sheet}"))
    return 0


def _refine(arguments: argparse.Namespace, task: CombineTask) -> int:
    from erasure.cli.train import follow
    from erasure.combine.refine import parents_of, refine_config
    from erasure.run.beginning import erase
    from erasure.run.folder import RunFolder
    from erasure.run.task import Task

    folder = arguments.folder or Path("runs") / f"{arguments.out.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    config = refine_config(task, ROWS if arguments.rows is None else arguments.rows)
    print_notes(task.notes)
    training = Task(
        checkpoint=arguments.checkpoint,
        out=task.out,
        folder=RunFolder(folder),
        config=config,
        device=arguments.device or default_device(),
        overwrite=arguments.overwrite,
        opening=opening_of(arguments),
        parents=parents_of(task),
    )
    return follow(erase(training))
