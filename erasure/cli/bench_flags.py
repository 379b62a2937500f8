"""The flags of ``python -m erasure bench``, and what is printed below them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from erasure.bench.metrics import METRICS
from erasure.cli.flags import DEVICE_HELP, add_config_flags
from erasure.cli.numbers import MOST_DRAWING_STEPS, pixels, real, whole
from erasure.families.known import supported

EPILOG = """\
Everything is written to --folder: results.jsonl (a row per run), cells/ (LoRA file, run and pictures of each), base/
(pictures before erasing), spaces/ (concept spaces), table-*.md and plot-*.svg. Started again, the bench continues where
it stopped; finished runs are not repeated. Settings (--steps ...) apply to every method, and those in a method's name,
such as uce+rank=16, override them.

--metrics measures more figures on each group of pictures; it downloads nothing that they need:
""" + "".join(f"  {name:10} {about}\n" for name, about in METRICS.items())


def add_bench_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the bench, then those of the config, which apply to every method."""
    add = parser.add_argument
    add("--suite", default="emoji", metavar="NAME", help="emoji, or imagenette for SD 1.4 (default: emoji)")
    add("--folder", type=Path, action="append", metavar="DIR", help="folder for all output (default: bench/SUITE)")
    add("--checkpoint", type=Path, metavar="FILE", help=f"{supported()} checkpoint (default for emoji: emoji-SD)")
    add("--device", metavar="NAME", help=DEVICE_HELP)
    add("--picture-device", metavar="NAME", help="device to draw pictures on (default: that of --device)")
    add("--methods", metavar="A,B", help="methods, presets or setting=value, joined by + (default: all methods)")
    add("--ablation", metavar="A,B", help="ablations to run as well: see --list")
    add("--sets", metavar="A,B", help="target sets by name, or by its beginning: doubles,style-flat (default: all)")
    add("--seeds", default="0", metavar="0,1,2", help="seeds of training (default: 0)")
    add("--part", default="1/1", metavar="I/N", help="run only the I-th of N parts, to share work among processes")
    add(
        "--threads",
        type=whole(0, 1024),
        default=0,
        metavar="N",
        help="number of torch's threads (default: torch's own choice)",
    )
    add("--list", action="store_true", help="list cells, methods, sets and ablations, and run nothing")
    _suite_flags(parser.add_argument_group("pictures").add_argument)
    add = parser.add_argument_group("engine").add_argument
    add("--engine", choices=("local", "ray"), default="local", help="this process, or Ray (default: local)")
    add("--ray-address", default="", metavar="ADDRESS", help="a Ray cluster (default: a new one on this machine)")
    add(
        "--workers",
        type=whole(0, 1024),
        default=0,
        metavar="N",
        help="processes of a new Ray cluster (default: one per core)",
    )
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


def _suite_flags(add: Callable[..., object]) -> None:
    add(
        "--pictures-per-concept",
        type=whole(1, 100_000),
        metavar="N",
        help="and per style (default: emoji 1, imagenette 500)",
    )
    add(
        "--limit",
        type=whole(0, 1_000_000),
        default=0,
        metavar="N",
        help="largest number of pictures per group (default: no limit)",
    )
    add(
        "--picture-steps",
        type=whole(1, MOST_DRAWING_STEPS),
        metavar="N",
        help="DDIM steps (default: emoji 20, imagenette 50)",
    )
    add("--picture-guidance", type=real, metavar="X", help="guidance (default: emoji 4, imagenette 7.5)")
    add(
        "--picture-batch",
        type=whole(1, 1024),
        metavar="N",
        help="pictures drawn at once (default: emoji 32, imagenette 8)",
    )
    add("--pixels", type=pixels, default=0, metavar="N", help="picture size (default: the checkpoint's own)")
    add("--classifier", default="", metavar="PATH", help="weights of the classifier that judges (imagenette only)")
    add("--metrics", metavar="A,B", help="more figures, described below: " + ", ".join(METRICS))
    add(
        "--near-words",
        type=whole(0, 1000),
        default=20,
        metavar="N",
        help="words near each target, for metric near (default: 20)",
    )
    add(
        "--attacks",
        metavar="A,B",
        help="attacks to make, for metric attacks (default: all; see: python -m erasure attack)",
    )
    add("--attack-rows", type=int, default=6000, metavar="N",
        help="U-Net rows that the search over words may take, for metric attacks (default: 6000)")  # fmt: skip
    add("--clip-model", default="", metavar="DIR", help="a CLIP model for clip and clip-drop")
    add("--random-classifier", action="store_true", help="judge with an untrained classifier, only to try the bench")
