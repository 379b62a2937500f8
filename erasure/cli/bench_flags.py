"""The flags of ``python -m erasure bench``, and what is printed below them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from erasure.bench.metrics import METRICS
from erasure.cli.flags import add_config_flags
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
    parser.add_argument("--suite", default="emoji", help="emoji, or imagenette for SD 1.4 (emoji)")
    parser.add_argument(
        "--folder", type=Path, action="append", metavar="DIR", help="where everything goes (bench/SUITE)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help=f"{supported()} checkpoint (emoji-SD for suite emoji)"
    )
    parser.add_argument("--device", metavar="NAME", help="cuda, mps or cpu; default: the best available")
    parser.add_argument("--picture-device", default="", metavar="NAME", help="where pictures are drawn (as --device)")
    parser.add_argument("--methods", metavar="A,B", help="methods, presets or field=value, joined with + (all methods)")
    parser.add_argument("--ablation", metavar="A,B", help="also run the variants of these ablations, see --list")
    parser.add_argument("--sets", metavar="A,B", help="target sets, by name or its beginning: doubles,style-flat (all)")
    parser.add_argument("--seeds", default="0", metavar="0,1,2", help="seeds of training (0)")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="only the I-th of N parts, one per process (1/1)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads for torch (torch decides)")
    parser.add_argument("--list", action="store_true", help="list methods, ablations, sets and cells, and run nothing")
    _add_picture_flags(parser.add_argument_group("pictures"))
    engine = parser.add_argument_group("engine")
    engine.add_argument("--engine", choices=("local", "ray"), default="local", help="this process, or Ray (local)")
    engine.add_argument("--ray-address", default="", metavar="ADDRESS", help="a running Ray cluster (start one here)")
    engine.add_argument("--workers", type=int, default=0, metavar="N", help="processes of Ray on this machine (cores)")
    report = parser.add_argument_group("report")
    report.add_argument("--report", type=Path, metavar="FILE.md", help="only write a report of --folder (repeatable)")
    report.add_argument(
        "--reference", default="adversarial", metavar="NAME", help="what other methods are compared with (adversarial)"
    )
    report.add_argument("--overwrite", action="store_true", help="replace an existing report")
    add_config_flags(parser)


def _add_picture_flags(group: Any) -> None:
    group.add_argument(
        "--pictures-per-concept",
        type=int,
        metavar="N",
        help="and per style, if the suite has styles (emoji 1, imagenette 500)",
    )
    group.add_argument("--limit", type=int, default=0, metavar="N", help="draw at most N pictures per group (no limit)")
    group.add_argument("--picture-steps", type=int, metavar="N", help="DDIM steps (emoji 20, imagenette 50)")
    group.add_argument("--picture-guidance", type=float, metavar="X", help="guidance scale (emoji 4, imagenette 7.5)")
    group.add_argument("--picture-batch", type=int, metavar="N", help="pictures drawn at once (emoji 32, imagenette 8)")
    group.add_argument("--pixels", type=int, default=0, metavar="N", help="side of a picture (the checkpoint's own)")
    group.add_argument("--classifier", default="", metavar="PATH", help="weights of the classifier, for imagenette")
    group.add_argument("--metrics", metavar="A,B", help="measure more, explained below: " + ", ".join(METRICS))
    group.add_argument("--clip-model", default="", metavar="DIR", help="folder of a CLIP model, for clip and clip-drop")
    group.add_argument("--random-classifier", action="store_true", help="an untrained judge, only to try the bench")
