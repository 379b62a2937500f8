"""``python -m erasure judge``: measure what a LoRA file erases from a checkpoint, and what it hurts."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from erasure.cli.flags import Commands, add_command, add_model_flags
from erasure.errors import ConfigError, EraseError
from erasure.model.device import default_device

if TYPE_CHECKING:
    from erasure.config.settings import EraseConfig


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "judge", "measure what a LoRA erases from a checkpoint, and what it hurts")
    add_model_flags(parser)
    add = parser.add_argument
    add("--lora", type=Path, required=True, metavar="FILE", help="the LoRA file, of any origin")
    add("--weight", type=float, default=1.0, metavar="X", help="its weight, as in <lora:name:X> (default: 1)")
    add("--erase", action="append", metavar="TEXT", help="what it should erase (default: what the file says)")
    add("--synonym", action="append", metavar="TEXT", help="another name of it; repeat for several")
    add("--keep", action="append", metavar="TEXT", help="a concept that should be kept; repeat for several")
    add("--words", type=int, default=20, metavar="N", help="how many of the nearest words are judged (default: 20)")
    add("--json", action="store_true", help="print everything that was measured as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from erasure.lora.file import read_lora
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.verdict.examine import examine_lora
    from erasure.verdict.verdict import Verdict, lines

    if arguments.words < 0:
        raise ConfigError([f"--words: {arguments.words} is negative"])
    config = _config(arguments)
    checkpoint, file = inspect_checkpoint(arguments.checkpoint), read_lora(arguments.lora)
    device = arguments.device or default_device()
    shares = examine_lora(checkpoint, file, config, device=device, weight=arguments.weight)
    while True:
        try:
            share = next(shares)
        except StopIteration as end:
            verdict: Verdict = end.value
            break
        if sys.stderr.isatty():
            print(f"\r{share:.0%} judged", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if arguments.json:
        said = {"lora": arguments.lora.name, "checkpoint": checkpoint.path.name, "weight": arguments.weight}
        print(json.dumps({**said, "gone": verdict.gone, "kept_share": verdict.kept_share, **verdict.to_dict(),
                          "lines": lines(verdict)}, ensure_ascii=False, indent=1))  # fmt: skip
    else:
        print("\n".join(lines(verdict)))
    return 0


def _config(arguments: argparse.Namespace) -> EraseConfig:
    """Return the settings to judge with: the file's own where it has some, with what was given instead."""
    from erasure.config.presets import preset
    from erasure.config.values import config_from_dict
    from erasure.lora.explain import explain_lora

    report = explain_lora(arguments.lora)
    told = dict(report.asked or report.config or {}) if not arguments.erase else {}
    # Where the words came from on the maker's machine is of no use here, and neither is how it was trained.
    used = ("erase", "anchor", "synonym", "preserve", "templates", "vocabulary", "neighbours", "precision")
    values = {"templates": preset("object").settings["templates"]}
    values |= {name: value for name, value in told.items() if name in used and value != "file"}
    given = {"erase": arguments.erase, "synonym": arguments.synonym, "preserve": arguments.keep}
    values |= {name: value for name, value in given.items() if value}
    if not values.get("erase"):
        raise ConfigError([f"{arguments.lora.name} does not say what it erases; give --erase TEXT"])
    try:
        return config_from_dict({**values, "judged_words": arguments.words})
    except EraseError as error:
        if arguments.erase:
            raise
        raise ConfigError(
            [f"what {arguments.lora.name} says of itself cannot be used: {error}; give --erase TEXT"]
        ) from error
