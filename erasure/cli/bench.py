"""``python -m erasure bench``: compare methods on a grid of target sets and seeds, and report it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure.bench.metrics import METRICS, check_metrics
from erasure.cli.flags import add_config_flags, given_settings
from erasure.config.presets import preset
from erasure.config.values import config_from_file
from erasure.errors import ConfigError
from erasure.families.known import supported
from erasure.model.device import default_device

if TYPE_CHECKING:
    from erasure.bench.cell import Bench, Cell
    from erasure.bench.grid import GridEvent, Todo

EPILOG = """\
Everything made is below --folder: results.jsonl (a row per run), cells/ (LoRA, run, pictures), base/ (pictures before),
spaces/, table-*.md and plot-*.svg. Started again, it goes on where it was; rows that are there are not computed again.
Settings (--steps ...) go to every method; a method's own, such as uce+rank=16, come after them.

More figures of each group of pictures, with --metrics; none of what they need is downloaded:
""" + "".join(f"  {name:10} {about}\n" for name, about in METRICS.items())


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="compare methods on a checkpoint",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--suite", default="emoji", help="emoji, or imagenette (SD 1.4's) (emoji)")
    parser.add_argument("--folder", type=Path, action="append", metavar="DIR", help="where all goes (bench/SUITE)")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help=f"{supported()} checkpoint; emoji-SD for emoji")
    parser.add_argument("--device", metavar="NAME", help="cuda, mps or cpu; default: the best there is")
    parser.add_argument("--picture-device", default="", metavar="NAME", help="where pictures are drawn (as --device)")
    parser.add_argument("--methods", metavar="A,B", help="methods, presets or field=value, joined by + (all methods)")
    parser.add_argument("--ablation", metavar="A,B", help="questions to answer as well: see --list")
    parser.add_argument("--sets", metavar="A,B", help="target sets, by name or beginning: doubles,style-flat (all)")
    parser.add_argument("--seeds", default="0", metavar="0,1,2", help="seeds of training (0)")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="only the I-th of N parts, for several processes")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads of torch (its own choice)")
    parser.add_argument("--list", action="store_true", help="list cells, methods, sets and ablations, and run nothing")
    _suite_flags(parser.add_argument_group("pictures"))
    engine = parser.add_argument_group("engine")
    engine.add_argument("--engine", choices=("local", "ray"), default="local", help="this process, or Ray (local)")
    engine.add_argument("--ray-address", default="", metavar="ADDRESS", help="a Ray cluster (a new one, here)")
    engine.add_argument("--workers", type=int, default=0, metavar="N", help="processes of a local Ray (cores)")
    report = parser.add_argument_group("report")
    report.add_argument(
        "--report", type=Path, metavar="FILE.md", help="write a report of --folder (repeat it), and stop"
    )
    report.add_argument(
        "--reference", default="adversarial", metavar="NAME", help="what differences are from (adversarial)"
    )
    report.add_argument("--overwrite", action="store_true", help="replace an existing report")
    add_config_flags(parser)
    parser.set_defaults(run=run)


def _suite_flags(group: Any) -> None:
    group.add_argument("--pictures-per-concept", type=int, metavar="N", help="and style (emoji 1, imagenette 500)")
    group.add_argument("--limit", type=int, default=0, metavar="N", help="at most N pictures per group (no limit)")
    group.add_argument("--picture-steps", type=int, metavar="N", help="DDIM steps (emoji 20, imagenette 50)")
    group.add_argument("--picture-guidance", type=float, metavar="X", help="guidance (emoji 4, imagenette 7.5)")
    group.add_argument("--picture-batch", type=int, metavar="N", help="pictures drawn at once (emoji 32, imagenette 8)")
    group.add_argument("--pixels", type=int, default=0, metavar="N", help="side of a picture (the checkpoint's own)")
    group.add_argument("--classifier", default="", metavar="PATH", help="weights of the judge (imagenette)")
    group.add_argument("--metrics", metavar="A,B", help="more figures, listed below: " + ", ".join(METRICS))
    group.add_argument("--clip-model", default="", metavar="DIR", help="a CLIP model for clip and clip-drop")
    group.add_argument("--random-classifier", action="store_true", help="an untrained judge, only to try the bench out")


def run(arguments: argparse.Namespace) -> int:
    if arguments.report:
        return _report(arguments)
    bench, grid = _grid(arguments)
    from erasure.bench.grid import jobs

    if arguments.list:
        return _list(bench, grid)
    todo = jobs(grid)
    bench.folder.mkdir(parents=True, exist_ok=True)
    _note_command(bench.folder)
    print(f"{len(grid)} cells, {len(grid) - sum(1 + len(job.also) for job in todo)} of them done already", flush=True)
    workers = (arguments.workers or os.cpu_count() or 1) if arguments.engine == "ray" else 1
    failed = _follow(_events(arguments, todo), todo, bench.folder, min(workers, len(todo) or 1))
    _summary(bench.folder)
    if failed:
        print(f"{failed} cells failed; started again, the bench tries them again", file=sys.stderr)
    return 1 if failed else 0


def _grid(arguments: argparse.Namespace) -> tuple[Bench, list[Cell]]:
    """Raises: ConfigError with all that is wrong in the arguments of the grid."""
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
        raise ConfigError([f"--checkpoint is needed: suite {chosen.name} has none of its own"])
    folders = arguments.folder or [Path("bench") / chosen.name]
    if len(folders) > 1:
        raise ConfigError(["--folder: one is enough to run a bench; several are for --report"])
    values = preset(arguments.preset).settings if arguments.preset else {}
    values = {**values, **(config_from_file(arguments.config) if arguments.config else {}), **given_settings(arguments)}
    taken = [name for name in ("erase", "seed") if name in values]
    if taken:
        raise ConfigError([f"--{name}: the grid decides it (--sets, --seeds)" for name in taken])
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
    """Print what happens; returns the number of failed cells."""
    from erasure.bench.eta import Eta
    from erasure.bench.grid import Failed, Finished
    from erasure.bench.results import read_rows
    from erasure.bench.work import RESULTS

    eta = Eta(read_rows(folder / RESULTS), [job.cell for job in todo], workers=workers)
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
    """Tables and pictures of all that is in the folder."""
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

    told = {"command": _command(), "time": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    append_row(folder / COMMANDS, told)


def _command() -> str:
    """What was typed, without places on this machine: paths outside of the current folder by name only."""
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
        raise ConfigError([f"--part: {text!r} should be I/N with I from 1 to N, as 1/2"])
    return numbers[0], numbers[1]


def _numbers(flag: str, text: str, separator: str) -> list[int]:
    try:
        return [int(part) for part in text.split(separator)]
    except ValueError:
        raise ConfigError([f"{flag}: {text!r} should be whole numbers, as 0{separator}1"]) from None
