"""Erasure and preservation over the learning rate: where the best is, and where the cliff.

``python -m benchmarks.rates run text --folder DIR --rates 0.0005,0.001 -- [flags of a bench]`` erases with each
learning rate of the edit of the text encoders, which a run would choose itself; with ``unet`` instead, with each of the
U-Net's, which a run would adapt; without ``--rates`` as it would. Every rate has a bench of its own, in a folder like
``DIR/text-0.0005``, that goes on where it stopped. ``python -m benchmarks.rates plot --folder DIR --out FILE.svg``
draws what all of them found over the rate, beside what the default finds, and prints a table of it. It needs
matplotlib.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from unittest import mock

from erasure.bench.results import Row, current, finished, read_rows
from erasure.bench.statistics import base_figure, cost, figure
from erasure.bench.variant import DEFAULT
from erasure.bench.work import RESULTS
from erasure.cli import main as erasure
from erasure.cli.numbers import real
from erasure.training import text_start

Of = Literal["text", "unet"]
OF_WHAT: dict[Of, str] = {"text": "text encoders", "unet": "U-Net"}
WITHOUT = "default"
TEXT = "text-encoder"  # where such an erasure starts
SHARED = ("base", "spaces")  # what a bench makes that no rate changes
FIGURES = ("ESR-1", "ESR-5", "PSR-1", "PSR-5", "outside-1", "near kept", "near score")
DRAWN = ("ESR-1", "PSR-1", "outside-1")


@dataclass(frozen=True)
class Rates:
    """What was found with a checkpoint and a family of target sets, on the same sets and seeds at every rate.

    ``by_rate``: rows by rate, in order; ``default``: those of runs that found their rate themselves.
    """

    of: Of
    checkpoint: str
    family: str
    by_rate: dict[float, list[Row]]
    default: list[Row]


def run(of: Of, rate: float | None, folder: Path, flags: Sequence[str]) -> int:
    """Run a bench at a rate, or, for None, as it comes; return the exit code.

    What no rate changes is not made again for every rate if the one as it comes was run before.
    """
    default = folder / WITHOUT
    own = default if rate is None else folder / f"{of}-{rate:g}"
    command = ["bench", *flags, "--folder", str(own), "--methods"]
    if rate is None:
        return _erasure([*command, DEFAULT])
    for shared in SHARED:
        if (default / shared).is_dir():
            shutil.copytree(default / shared, own / shared, copy_function=_copy_if_new, dirs_exist_ok=True)
    if of == "unet":
        return _erasure([*command, f"{DEFAULT}+pace=0+learning_rate={rate:g}"])
    with mock.patch.object(text_start, "RATES", (rate,)):  # the only one that is tried
        return _erasure([*command, f"{DEFAULT}+start={TEXT}"])


def found(folder: Path, of: Of) -> list[Rates]:
    """Read what benches in a folder found, by checkpoint and family: of runs that every rate and the default made."""
    others = {
        float(path.name.split("-", 1)[1]): _by_family(path, of) for path in folder.glob(f"{of}-*") if path.is_dir()
    }
    every = []
    for (checkpoint, family), default in _by_family(folder / WITHOUT, of).items():
        rates = {rate: own[checkpoint, family] for rate, own in sorted(others.items()) if (checkpoint, family) in own}
        shared = set(default).intersection(*rates.values())
        if rates and shared:
            by_rate = {rate: [own[place] for place in sorted(shared)] for rate, own in rates.items()}
            every.append(Rates(of, checkpoint, family, by_rate, [default[place] for place in sorted(shared)]))
    return every


def table(every: Sequence[Rates]) -> str:
    """Return a Markdown table of what was found."""
    lines = ["| | runs | " + " | ".join(FIGURES) + " | updates |", "|---" * (len(FIGURES) + 3) + "|"]
    for one in every:
        title = f"{Path(one.checkpoint).stem}, {one.family}, {OF_WHAT[one.of]}"
        named = {f"{rate:g}": rows for rate, rows in one.by_rate.items()}
        for name, rows in {**named, "as the run finds it": one.default}.items():
            means = [figure(rows, each).mean for each in FIGURES]
            cells = ["" if math.isnan(mean) else f"{mean:.1f}" for mean in means]
            lines.append(f"| {title}, {name} | {len(rows)} | {' | '.join(cells)} | {cost(rows, 'updates').mean:.0f} |")
    return "\n".join(lines) + "\n"


def plot(every: Sequence[Rates], out: Path) -> None:
    """Draw a panel for each; the default is a dashed line, the untouched checkpoint a dotted one."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "rates", "svg.fonttype": "none"})
    from matplotlib import pyplot

    shown, axes = pyplot.subplots(1, len(every), figsize=(4.4 * len(every), 3.6), squeeze=False, sharey=True)
    for axis, one in zip(axes[0], every, strict=True):
        for number, name in enumerate(DRAWN):
            means = [figure(rows, name).mean for rows in one.by_rate.values()]
            axis.plot(list(one.by_rate), means, "o-", color=f"C{number}", label=name)
            axis.axhline(figure(one.default, name).mean, color=f"C{number}", ls="--", lw=1)
            if not name.startswith("ESR"):
                axis.axhline(base_figure(one.default, name).mean, color=f"C{number}", ls=":", lw=1)
        axis.set_xscale("log", base=2)
        axis.set_xticks(list(one.by_rate), [f"{rate:g}" for rate in one.by_rate], rotation=45)
        axis.set_xlabel(f"learning rate, {OF_WHAT[one.of]}")
        axis.set_title(f"{Path(one.checkpoint).stem}, {one.family}", fontsize=10)
    axes[0][0].set_ylabel("%")
    axes[0][0].legend(loc="lower left")
    shown.tight_layout()
    shown.savefig(out, format="svg", metadata={"Date": None})


def _by_family(folder: Path, of: Of) -> dict[tuple[str, str], dict[tuple[str, int], Row]]:
    """Return a bench's rows by checkpoint and family, and then by set and seed.

    None of what is erased without an edit of the text encoders if it is about these.
    """
    rows = [row for row in finished(read_rows(folder / RESULTS)) if of == "unet" or row["config"]["start"] == TEXT]
    found: dict[tuple[str, str], dict[tuple[str, int], Row]] = {}
    for checkpoint in dict.fromkeys(row["checkpoint"] for row in rows):
        for row in current(row for row in rows if row["checkpoint"] == checkpoint):
            found.setdefault((checkpoint, row["family"]), {})[row["set"], row["seed"]] = row
    return found


def _copy_if_new(source: str, target: str) -> None:
    if not Path(target).exists():
        shutil.copy2(source, target)


def _erasure(command: list[str]) -> int:
    with mock.patch.object(sys, "argv", ["erasure", *command]):  # a bench notes its command
        return erasure(command)


def _rates(text: str) -> list[float]:
    rates = [real(rate) for rate in text.split(",")]
    if min(rates) <= 0:
        raise argparse.ArgumentTypeError(f"{min(rates):g} is not above 0")
    return rates


def main(argv: Sequence[str] | None = None) -> int:
    """Run a bench for every rate, or show what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="run a bench for every rate")
    runs.add_argument("of", choices=get_args(Of), help="whose learning rate")
    runs.add_argument("--rates", type=_rates, help="separated by commas; none: as the run finds it")
    plots = commands.add_parser("plot", help="show what was found")
    plots.add_argument("--out", type=Path, required=True, help="a file for the plot")
    for each in (runs, plots):
        each.add_argument("--folder", type=Path, required=True)
    given = list(sys.argv[1:] if argv is None else argv)
    at = given.index("--") if "--" in given else len(given)  # behind it stand flags of a bench
    args, flags = parser.parse_args(given[:at]), given[at + 1 :]
    if args.command == "run":
        if any(flag.startswith(("--engine", "--methods", "--folder")) for flag in flags):
            parser.error("--engine, --methods and --folder are decided here: a bench runs in this process")
        return max(run(args.of, rate, args.folder, flags) for rate in args.rates or [None])
    every = [one for of in get_args(Of) for one in found(args.folder, of)]
    if not every:
        parser.error(f"{args.folder} has no rate and set that the default was run with as well")
    print(table(every))
    plot(every, args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
