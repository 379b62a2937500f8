"""``python -m erasure bench``: compare methods on a grid of target sets and seeds, and write a report."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from erasure.bench.metrics import check_metrics
from erasure.cli.bench_flags import EPILOG, add_bench_flags
from erasure.cli.flags import Commands, add_command, given_settings
from erasure.config.presets import preset
from erasure.config.values import config_from_file
from erasure.errors import ConfigError
from erasure.model.device import default_device

if TYPE_CHECKING:
    from erasure.bench.cell import Bench, Cell
    from erasure.bench.grid import GridEvent, Todo


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "bench", "compare methods on a checkpoint", EPILOG)
    add_bench_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.report:
        return _report(arguments)
    bench, grid = _grid(arguments)
    from erasure.bench.grid import todo_of

    if arguments.list:
        return _list(bench, grid)
    todo = todo_of(grid)
    bench.folder.mkdir(parents=True, exist_ok=True)
    _note_command(bench.folder)
    print(f"{len(grid)} cells, {len(grid) - sum(1 + len(one.also) for one in todo)} of them already done", flush=True)
    workers = (arguments.workers or os.cpu_count() or 1) if arguments.engine == "ray" else 1
    failed = _follow(_events(arguments, todo), todo, bench.folder, min(workers, len(todo) or 1))
    _summary(bench.folder)
    if failed:
        print(f"{failed} cells failed; start the bench again to retry them", file=sys.stderr)
    return 1 if failed else 0


def _grid(arguments: argparse.Namespace) -> tuple[Bench, list[Cell]]:
    """Make the bench and its cells from the arguments. Raises: ConfigError with the problems that were found."""
    from erasure.bench.cell import Bench
    from erasure.bench.grid import cells
    from erasure.bench.suite import SuiteOptions
    from erasure.bench.suites import suite
    from erasure.bench.variant import method_names, variants

    options = SuiteOptions(
        pictures_per_concept=arguments.pictures_per_concept,
        limit=arguments.limit,
        steps=arguments.picture_steps,
        guidance=arguments.picture_guidance,
        pixels=arguments.pixels,
        batch=arguments.picture_batch,
        classifier=arguments.classifier,
        random_classifier=arguments.random_classifier,
        metrics=tuple(_split(arguments.metrics)),
        clip_model=arguments.clip_model,
        near_words=arguments.near_words,
        attacks=tuple(_split(arguments.attacks)),
        attack_rows=arguments.attack_rows,
    )
    check_metrics(options)
    chosen = suite(arguments.suite, options)
    checkpoint = arguments.checkpoint or chosen.checkpoint
    if checkpoint is None:
        raise ConfigError([f"--checkpoint is needed: suite {chosen.name} does not come with one"])
    folders = arguments.folder or [Path("bench") / chosen.name]
    if len(folders) > 1:
        raise ConfigError(["--folder: give one folder to run a bench; only --report takes several"])
    values = preset(arguments.preset).settings if arguments.preset else {}
    values = {**values, **(config_from_file(arguments.config) if arguments.config else {}), **given_settings(arguments)}
    grid_flags = {"erase": "--sets", "seed": "--seeds"}
    taken = [name for name in grid_flags if name in values]
    if taken:
        raise ConfigError([f"--{name}: the grid decides it; use {grid_flags[name]}" for name in taken])
    device = arguments.device or default_device()
    bench = Bench(
        chosen.name, checkpoint, folders[0], device, arguments.threads, options, values, arguments.picture_device or ""
    )
    named = _split(arguments.methods)
    methods = named or ([] if arguments.ablation else list(method_names()))
    sets = _sets([s.name for s in chosen.sets], _split(arguments.sets))
    found = variants(methods, _split(arguments.ablation))
    return bench, cells(bench, found, sets, _numbers("--seeds", arguments.seeds, ","), _part(arguments.part))


def _events(arguments: argparse.Namespace, todo: list[Todo]) -> Iterator[GridEvent]:
    """Run what is to be done on the chosen engine."""
    if arguments.engine == "ray":
        from erasure.bench.ray_engine import run_on_ray

        return run_on_ray(todo, address=arguments.ray_address, workers=arguments.workers)
    from erasure.bench.grid import run_here

    return run_here(todo)


def _follow(events: Iterator[GridEvent], todo: Sequence[Todo], folder: Path, workers: int) -> int:
    """Print what happens; return the number of failed cells."""
    from erasure.bench.eta import Eta
    from erasure.bench.grid import Failed, Finished
    from erasure.bench.results import finished, read_rows
    from erasure.bench.work import RESULTS

    eta = Eta(finished(read_rows(folder / RESULTS)), [one.cell for one in todo], workers=workers)
    failed, shown = 0, 0.0
    for event in events:
        if isinstance(event, Finished):
            row = event.row
            eta.ended(row["variant"], row["set"], row["seed"], row["seconds"])
            figures = ", ".join(f"{name} {value:.1f}" for name, value in row["after"].items())
            print(
                f"{eta.counter()} {row['variant']} on {row['set']}, seed {row['seed']}: {figures}; {eta.left()}",
                flush=True,
            )
        elif isinstance(event, Failed):
            failed += 1
            eta.ended(event.cell.variant.name, event.cell.set, event.cell.seed, None)
            print(f"{eta.counter()} {event.cell.title()} failed: {event.problem}", file=sys.stderr, flush=True)
        elif time.monotonic() - shown > 15:
            shown = time.monotonic()
            progress = event.progress
            where = f"{progress.stage} {progress.done}/{progress.total}"
            print(f"{eta.counter()} {event.cell.title()}: {where}; {eta.left()}", file=sys.stderr, flush=True)
    return failed


def _summary(folder: Path) -> None:
    """Write a table and a plot of each family in the folder, and print the tables."""
    from erasure.bench.plot import scatter_svg
    from erasure.bench.report import panels
    from erasure.bench.results import current, finished, read_rows
    from erasure.bench.statistics import families
    from erasure.bench.tables import main_table
    from erasure.bench.work import RESULTS

    for (suite, family), rows in families(current(finished(read_rows(folder / RESULTS)))).items():
        table = main_table(rows)
        (folder / f"table-{suite}-{family}.md").write_text(table, encoding="utf-8")
        picture = folder / f"plot-{suite}-{family}.svg"
        picture.write_text(scatter_svg(rows, panels(rows)), encoding="utf-8")
        print(f"\n{suite}: {family}\n\n{table}\n{picture}")


def _report(arguments: argparse.Namespace) -> int:
    from erasure.bench.report import write_report

    folders = arguments.folder or [Path("bench") / arguments.suite]
    written = write_report(
        folders,
        arguments.report,
        command=_command(),
        reference=arguments.reference,
        overwrite=arguments.overwrite,
    )
    for path in written:
        print(path)
    return 0


def _list(bench: Bench, grid: Sequence[Cell]) -> int:
    from erasure.bench.suites import suite
    from erasure.bench.variant import ABLATIONS, method_names

    print(f"methods: {', '.join(method_names())}")
    for name, members in ABLATIONS.items():
        print(f"ablation {name}: {', '.join(members)}")
    for target_set in suite(bench.suite, bench.options).sets:
        print(f"set {target_set.name}: erase {', '.join(target_set.erase)}")
    for cell in grid:
        print(f"cell {cell.title()}")
    return 0


def _note_command(folder: Path) -> None:
    from erasure.bench.report import COMMANDS
    from erasure.bench.results import append_row

    note = {"command": _command(), "time": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    append_row(folder / COMMANDS, note)


def _command() -> str:
    """Return the command line without paths of this machine: an absolute path is shortened to its name."""
    shown = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "erasure", *shown])


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _sets(known: Sequence[str], wanted: Sequence[str]) -> list[str]:
    lost = [text for text in wanted if not any(name.startswith(text) for name in known)]
    if lost:
        raise ConfigError([f"--sets: there is no target set {text!r}; choose from {', '.join(known)}" for text in lost])
    return [name for name in known if not wanted or any(name.startswith(text) for text in wanted)]


def _part(text: str) -> tuple[int, int]:
    numbers = _numbers("--part", text, "/")
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1]:
        raise ConfigError([f"--part: {text!r} should be I/N with I from 1 to N, such as 1/2"])
    return numbers[0], numbers[1]


def _numbers(flag: str, text: str, separator: str) -> list[int]:
    try:
        return [int(part) for part in text.split(separator)]
    except ValueError:
        raise ConfigError([f"{flag}: {text!r} should be whole numbers, such as 0{separator}1"]) from None
