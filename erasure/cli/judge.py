"""``python -m erasure judge``: measure what a LoRA file erases from a checkpoint, and what it hurts."""

from __future__ import annotations

import argparse
import sys

from erasure.cli.flags import Commands, add_command, add_lora_flags, add_model_flags, lora_settings, opening_of
from erasure.cli.printable import printable
from erasure.cli.shares import with_shares
from erasure.console import json_text
from erasure.model.device import default_device


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "judge", "measure what a LoRA erases from a checkpoint, and what it hurts")
    add_model_flags(parser)
    add_lora_flags(parser)
    add = parser.add_argument
    add("--keep", action="append", metavar="TEXT", help="a concept that should be kept; repeat for several")
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
        **lora_settings(arguments),
        "preserve": arguments.keep,
        "judged_words": arguments.words,
    }
    usual = preset(arguments.preset).settings
    task = measure_task(
        arguments.checkpoint, arguments.lora, given, arguments.weight, usual=usual, opening=opening_of(arguments)
    )
    print("loading the checkpoint ...", file=sys.stderr)
    measured = with_shares(examine_lora(task, device=arguments.device or default_device()), "judged")
    for note in measured.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    if arguments.json:
        print(json_text(measured.to_dict()))
        return 0
    for line in (*lines(measured.verdict), hurt_line(measured.verdict)):
        if line:
            print(printable(line))
    return 0
