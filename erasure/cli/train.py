"""``python -m erasure train``: erase, resume, or only print the plan."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from erasure.cli.flags import (
    Commands,
    add_command,
    add_config_flags,
    add_model_flags,
    config_from_flags,
    given_settings,
    opening_of,
)
from erasure.errors import ConfigError
from erasure.model.device import check_device, default_device
from erasure.run.output import check_output

if TYPE_CHECKING:
    from erasure.config.settings import EraseConfig
    from erasure.model.rows import Purpose
    from erasure.run.run import Run

STOPPED = 130


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "train", "erase concepts: train a LoRA file")
    add_model_flags(parser, required=False)
    parser.add_argument("--out", type=Path, metavar="FILE.safetensors", help="the LoRA file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    parser.add_argument("--run", dest="folder", type=Path, metavar="DIR", help="run folder (default: runs/OUT-TIME)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="continue the interrupted run in this folder")
    add_config_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.resume:
        return _resume(arguments)
    missing = [f"--{name} is needed" for name in ("checkpoint", "out") if getattr(arguments, name) is None]
    if arguments.dry_run:
        missing = [text for text in missing if "--out" not in text]
    try:
        config = config_from_flags(arguments)
    except ConfigError as error:
        raise ConfigError([*missing, *error.problems]) from error
    if missing:
        raise ConfigError(missing)
    if arguments.dry_run:
        return _dry_run(arguments, config)
    device = arguments.device or default_device()
    # The run checks both again; here it takes no time, since hardly anything is imported yet.
    check_output(arguments.out, overwrite=arguments.overwrite, read=(arguments.checkpoint, arguments.vae))
    check_device(device, config.precision)
    from erasure.run.beginning import erase
    from erasure.run.folder import RunFolder
    from erasure.run.task import Task

    folder = arguments.folder or Path("runs") / f"{arguments.out.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    task = Task(
        checkpoint=arguments.checkpoint,
        out=arguments.out,
        folder=RunFolder(folder),
        config=config,
        device=device,
        overwrite=arguments.overwrite,
        opening=opening_of(arguments),
    )
    return follow(erase(task))


def _resume(arguments: argparse.Namespace) -> int:
    names = {"ema": "ema", "preset": "preset", "config": "config", "folder": "run", "dry_run": "dry-run"}
    refused = [f"--{shown}" for name, shown in names.items() if getattr(arguments, name)]
    if refused:
        raise ConfigError(
            [f"{', '.join(refused)}: does not go with --resume, which goes on with the run as it was planned"]
        )
    if arguments.out is not None:
        # The run checks it again; here it takes no time, since hardly anything is imported yet.
        check_output(arguments.out, overwrite=arguments.overwrite, read=(arguments.checkpoint,))
    from erasure.run.beginning import resume
    from erasure.run.folder import RunFolder

    device = arguments.device or default_device()
    resumed = resume(
        RunFolder(arguments.resume),
        checkpoint=arguments.checkpoint,
        device=device,
        out=arguments.out,
        overwrite=arguments.overwrite,
        changes=given_settings(arguments),
        vae=arguments.vae,
    )
    return follow(resumed)


def follow(run: Run) -> int:
    """Show a run until it ends or is stopped; a stop waits for the end of the current update."""
    from erasure.cli.progress_bar import ProgressBar

    with _stop_flag() as stop, ProgressBar(run.folder) as progress, run:
        for event in run:
            progress.show(event)
            if stop.asked:
                break
        else:
            return 0
        for event in run.stop():
            progress.show(event)
    folder = run.folder.path
    print(f"stopped; all that was made is in {folder}. To continue: python -m erasure train --resume {folder}")
    return STOPPED


@dataclass
class _Stop:
    asked: bool = False


@contextmanager
def _stop_flag() -> Iterator[_Stop]:
    """Let Ctrl-C and SIGTERM set a flag; the second one interrupts at once."""
    stop = _Stop()

    def ask(number: int, frame: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dry_run(arguments: argparse.Namespace, config: EraseConfig) -> int:
    from erasure.cli.concepts import print_space
    from erasure.config.settle import decided, notes_of
    from erasure.jobs.estimate import memory_bytes
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.run.forecast import forecast_rows, soonest_end
    from erasure.training.planning import measure_cost
    from erasure.training.session import open_session
    from erasure.training.text_start_sizes import text_steps

    checkpoint = inspect_checkpoint(arguments.checkpoint).opened(opening_of(arguments))
    session = open_session(checkpoint, config, arguments.device or default_device())
    plan = session.plan
    cost = measure_cost(session.model, plan, config)
    print_space(plan.space, 20, erase_synonyms=config.erase_synonyms)
    for note in (*session.model.parts.notes, *notes_of(config)):
        print(f"note:    {note}")
    for name, value in decided(config).items():
        print(f"decided: {name} = {value}, by method {config.method}")
    print(f"layers:  {plan.layers} ({config.layers}), rank {plan.rank}, {plan.parameters:,} parameters")
    sizes = tuple(len(target.preserved) for target in plan.space.targets)
    rows, early = forecast_rows(config, sizes), forecast_rows(config, sizes, soonest_end(config))
    purposes: tuple[Purpose, ...] = ("start", "training", "looks", "verdict", "hostile")
    start, training, looks, verdict, hostile = (rows[purpose].total for purpose in purposes)
    least = early["training"].total + early["looks"].total
    bound = "at most " if config.look_every else ""
    print(f"work:    {bound}{plan.updates} updates of about {plan.rows_per_update:.1f} U-Net rows")
    print(f"         {plan.rows_setup:,} rows just now, to measure synonyms; {bound}{training:,.0f} for training")
    if config.look_every:
        print(f"         and {looks:,.0f} for looks; only {least:,.0f} of both if the first ones find all gone")
    if start:
        print(f"         at most {start:,.0f} rows for the closed form that training starts from")
    if steps := text_steps(config):
        print(f"         at most {steps:,} steps on the text encoders, where training starts")
    print(f"         {verdict:,.0f} rows to judge before and after")
    if hostile:
        print(f"         at most {hostile:,.0f} rows to find other wordings of what is erased")
    each = cost.seconds_per_update / max(1.0, plan.rows_per_update)
    most, soonest = (each * (book.all.total + text_steps(config)) / 60 for book in (rows, early))
    sooner = f"about {soonest:.1f} min if the first looks find all gone, at most " if config.look_every else "about "
    print(f"time:    {sooner}{most:.1f} min ({cost.seconds_per_update:.2f} s per update, measured here)")
    print(f"memory:  {cost.peak_bytes / 2**30:.1f} GiB, peak of the {cost.peak_of}, measured here")
    if cost.peak_of == "process":
        # That says little about a GPU, where memory is what people run out of.
        full = checkpoint.family.full
        expected = memory_bytes(config, checkpoint.size, full) / 2**30
        measured = f"a full-size {full.measured_on or checkpoint.family.short} took on a CPU"
        print(f"         on a GPU, expect about {expected:.1f} GiB, scaled from what {measured}")
    return 0
