"""``python -m erasure bench``: compare methods on a grid of target sets and seeds, and report the results."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from erasure.bench.metrics import METRICS, check_metrics
from erasure.cli.flags import DEVICE_HELP, Commands, add_command, add_config_flags, given_settings
from erasure.config.presets import preset
from erasure.config.values import config_from_file
from erasure.errors import ConfigError
from erasure.families.known import supported
from erasure.model.device import default_device

if TYPE_CHECKING:
    from erasure.bench.cell import Bench, Cell
    from erasure.bench.grid import GridEvent, Todo

EPILOG = """\
All output goes to --folder: results.jsonl (a row per run), cells/ (LoRA, run, pictures), base/ (pictures before),
spaces/, table-*.md and plot-*.svg. Started again, the bench continues; rows that exist are not computed again.
Settings (--steps ...) apply to every method; those of one method, such as uce+rank=16, override them.

--metrics adds figures for each group of pictures; nothing that they need is downloaded:
""" + "".join(f"  {name:10} {about}\n" for name, about in METRICS.items())


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "bench", "compare methods on a checkpoint", EPILOG)
    add = parser.add_argument
    add("--suite", default="emoji", metavar="NAME", help="emoji, or imagenette for SD 1.4 (default: emoji)")
    add("--folder", type=Path, action="append", metavar="DIR", help="folder for all output (default: bench/SUITE)")
    add("--checkpoint", type=Path, metavar="FILE", help=f"{supported()} checkpoint (default for emoji: emoji-SD)")
    add("--device", metavar="NAME", help=DEVICE_HELP)
    add("--picture-device", default="", metavar="NAME", help="device to draw pictures on (default: that of --device)")
    add("--methods", metavar="A,B", help="methods, presets or setting=value, joined by + (default: all methods)")
    add("--ablation", metavar="A,B", help="ablations to run as well: see --list")
    add("--sets", metavar="A,B", help="target sets by name, or by its beginning: doubles,style-flat (default: all)")
    add("--seeds", default="0", metavar="0,1,2", help="seeds of training (default: 0)")
    add("--part", default="1/1", metavar="I/N", help="run only the I-th of N parts, to share work among processes")
    add("--threads", type=int, default=0, metavar="N", help="number of torch's threads (default: torch's own choice)")
    add("--list", action="store_true", help="list cells, methods, sets and ablations, and run nothing")
    _suite_flags(parser.add_argument_group("pictures").add_argument)
    add = parser.add_argument_group("engine").add_argument
    add("--engine", choices=("local", "ray"), default="local", help="this process, or Ray (default: local)")
    add("--ray-address", default="", metavar="ADDRESS", help="a Ray cluster (default: a new one on this machine)")
    add("--workers", type=int, default=0, metavar="N", help="processes of a new Ray cluster (default: one per core)")
    add = parser.add_argument_group("report").add_argument
    add("--report", type=Path, metavar="FILE.md", help="only write a report on one or more --folder")
    add(
        "--reference",
        default="adversarial",
        metavar="NAME",
        help="method that the others are compared with (default: adversarial)",
    )
    add("--overwrite", action="store_true", help="replace an existing report")
    add_config_flags(parser)
    parser.set_defaults(run=run)


def _suite_flags(add: Callable[..., object]) -> None:
    add("--pictures-per-concept", type=int, metavar="N", help="and per style (default: emoji 1, imagenette 500)")
    add("--limit", type=int, default=0, metavar="N", help="largest number of pictures per group (default: no limit)")
    add("--picture-steps", type=int, metavar="N", help="DDIM steps (default: emoji 20, imagenette 50)")
    add("--picture-guidance", type=float, metavar="X", help="guidance (default: emoji 4, imagenette 7.5)")
    add("--picture-batch", type=int, metavar="N", help="pictures drawn at once (default: emoji 32, imagenette 8)")
    add("--pixels", type=int, default=0, metavar="N", help="picture size (default: the checkpoint's own)")
    add("--classifier", default="", metavar="PATH", help="weights of the classifier that judges (imagenette only)")
    add("--metrics", metavar="A,B", help="more figures, described below: " + ", ".join(METRICS))
    add("--clip-model", default="", metavar="DIR", help="a CLIP model for clip and clip-drop")
    add("--random-classifier", action="store_true", help="judge with an untrained classifier, only to try the bench")


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
    """Return what the arguments ask for, and its cells. Raises: ConfigError with all that is wrong in them."""
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
    )
    check_metrics(options)
    chosen = suite(arguments.suite, options)
    checkpoint = arguments.checkpoint or chosen.checkpoint
    if checkpoint is None:
        raise ConfigError([f"--checkpoint: missing; suite {chosen.name} has no default"])
    folders = arguments.folder or [Path("bench") / chosen.name]
    if len(folders) > 1:
        raise ConfigError(["--folder: several are given, but only --report takes more than one"])
    values = preset(arguments.preset).settings if arguments.preset else {}
    values = {**values, **(config_from_file(arguments.config) if arguments.config else {}), **given_settings(arguments)}
    taken = [name for name in ("erase", "seed") if name in values]
    if taken:
        raise ConfigError([f"--{name}: cannot be given to the bench, which has --sets and --seeds" for name in taken])
    device = arguments.device or default_device()
    bench = Bench(
        chosen.name, checkpoint, folders[0], device, arguments.threads, options, values, arguments.picture_device
    )
    named = _split(arguments.methods)
    methods = named or ([] if arguments.ablation else list(method_names()))
    sets = _sets([s.name for s in chosen.sets], _split(arguments.sets))
    found = variants(methods, _split(arguments.ablation))
    return bench, cells(bench, found, sets, _numbers("--seeds", arguments.seeds, ","), _part(arguments.part))


def _events(arguments: argparse.Namespace, todo: list[Todo]) -> Iterator[GridEvent]:
    if arguments.engine == "ray":
        from erasure.bench.ray_engine import run_on_ray

        return run_on_ray(todo, address=arguments.ray_address, workers=arguments.workers)
    from erasure.bench.grid import run_here

    return run_here(todo)


def _follow(events: Iterator[GridEvent], todo: Sequence[Todo], folder: Path, workers: int) -> int:
    """Print what happens, and return the number of failed cells."""
    from erasure.bench.eta import Eta
    from erasure.bench.grid import Failed, Finished
    from erasure.bench.results import read_rows
    from erasure.bench.work import RESULTS

    eta = Eta(read_rows(folder / RESULTS), [one.cell for one in todo], workers=workers)
    failed, shown = 0, 0.0
    for event in events:
        if isinstance(event, Finished):
            eta.ended(event.row["variant"], event.row["set"], event.row["seed"], event.row["seconds"])
            figures = ", ".join(f"{name} {value:.1f}" for name, value in event.row["after"].items())
            row = event.row
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
    """Write and print tables and plots of all results in the folder."""
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

    row = {"command": _command(), "time": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    append_row(folder / COMMANDS, row)


def _command() -> str:
    """Return what was typed, with absolute paths by name only, so that it reveals nothing of this machine."""
    shown = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "erasure", *shown])


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _sets(known: Sequence[str], wanted: Sequence[str]) -> list[str]:
    lost = [text for text in wanted if not any(name.startswith(text) for name in known)]
    if lost:
        raise ConfigError([f"--sets: there is no target set {text!r}; there are {', '.join(known)}" for text in lost])
    return [name for name in known if not wanted or any(name.startswith(text) for text in wanted)]


def _part(text: str) -> tuple[int, int]:
    numbers = _numbers("--part", text, "/")
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1]:
        raise ConfigError([f"--part: {text!r} is not I/N with I from 1 to N, such as 1/2"])
    return numbers[0], numbers[1]


def _numbers(flag: str, text: str, separator: str) -> list[int]:
    try:
        return [int(part) for part in text.split(separator)]
    except ValueError:
        raise ConfigError([f"{flag}: {text!r} must be whole numbers, such as 0{separator}1"]) from None
