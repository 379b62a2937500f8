"""``python -m erasure judge``: measure what a LoRA file erases from a checkpoint, and what it hurts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from erasure.cli.flags import Commands, add_command, add_model_flags, opening_of
from erasure.cli.printable import printable
from erasure.console import json_text
from erasure.model.device import default_device

if TYPE_CHECKING:
    from erasure.verdict.measurement import Measurement


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "judge", "measure what a LoRA erases from a checkpoint, and what it hurts")
    add_model_flags(parser)
    add = parser.add_argument
    add("--lora", type=Path, required=True, metavar="FILE", help="the LoRA file, of any origin")
    add("--weight", type=float, default=1.0, metavar="X", help="its weight, as in <lora:name:X> (default: 1)")
    add("--erase", action="append", metavar="TEXT", help="what it should erase (default: what the file says)")
    add("--synonym", action="append", metavar="TEXT", help="another name of it; repeat for several")
    add("--keep", action="append", metavar="TEXT", help="a concept that should be kept; repeat for several")
    add("--template", action="append", metavar="TEXT",
        help="a prompt with {} in place of the concept; repeat for several (default: what the file says)")  # fmt: skip
    add("--preset", default="object", metavar="NAME",
        help="kind of concept, for what the file does not say of prompts and words (default: object)")  # fmt: skip
    add("--words", type=int, default=20, metavar="N", help="how many of the nearest words are judged (default: 20)")
    add("--json", action="store_true", help="print everything that was measured as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the verdict; everything else goes to stderr, so that stdout can be read by programs."""
    from erasure.config.presets import preset
    from erasure.verdict.examine import examine_lora
    from erasure.verdict.measurement import measure_task
    from erasure.verdict.verdict import hurt_line, lines

    given = {
        "erase": arguments.erase,
        "synonym": arguments.synonym,
        "preserve": arguments.keep,
        "templates": arguments.template,
        "judged_words": arguments.words,
    }
    usual = preset(arguments.preset).settings
    task = measure_task(
        arguments.checkpoint, arguments.lora, given, arguments.weight, usual=usual, opening=opening_of(arguments)
    )
    measured = with_progress(examine_lora(task, device=arguments.device or default_device()))
    for note in measured.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    if arguments.json:
        print(json_text(measured.to_dict()))
        return 0
    for line in (*lines(measured.verdict), hurt_line(measured.verdict)):
        if line:
            print(printable(line))
    return 0


def with_progress(shares: Generator[float, None, Measurement]) -> Measurement:
    """Run to the end, and say on stderr how much is done: on one line of a terminal, elsewhere at every tenth."""
    live, told = sys.stderr.isatty(), -1
    print("loading the checkpoint ...", file=sys.stderr)
    try:
        while True:
            share = next(shares)
            if live:
                print(f"\r{share:.0%} judged", end="", file=sys.stderr, flush=True)
            elif int(share * 10) > told:
                print(f"{share:.0%} judged", file=sys.stderr, flush=True)
            told = int(share * 10)
    except StopIteration as end:
        measured: Measurement = end.value
        return measured
    finally:
        if live and told >= 0:
            print(file=sys.stderr)
