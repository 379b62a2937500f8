"""``python -m erasure inspect``: what a LoRA file is and does, and whether a checkpoint is its base."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from erasure.cli.flags import Commands, add_command, add_model_flags, opening_of, print_notes
from erasure.cli.printable import printable
from erasure.cli.shares import with_shares
from erasure.errors import ConfigError
from erasure.lora.parts import UNMEASURED
from erasure.verdict.verdict import hurt_line, lines, stated_verdict


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "inspect", "explain a LoRA file")
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the LoRA file")
    add_model_flags(parser, required=False)
    add("--erase", action="append", metavar="TEXT", help="what it should erase (default: what the file says)")
    add("--hash-only", action="store_true", help="tell a base by its hash alone, and measure nothing")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.checkpoint is None and (arguments.erase or arguments.hash_only):
        raise ConfigError(["--erase and --hash-only go with --checkpoint, the base that the file is compared with"])
    from erasure.lora.explain import explain_lora

    report = explain_lora(arguments.file)
    print(report)
    if report.verdict is None and report.combined is not None and not report.combined.refined:
        print(f"measured: {UNMEASURED}")
    for line in _verdict_lines(report.verdict):
        print(line, flush=True)
    if arguments.checkpoint is not None:
        _compare(arguments, report.verdict)
    return 0


def _compare(arguments: argparse.Namespace, stated: dict[str, Any] | None) -> None:
    """Print whether the checkpoint is the base: by hash, or else by measuring what the LoRA does there."""
    from erasure.lora.file import read_lora_header
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.model.device import default_device
    from erasure.verdict.base_check import FEW_WORDS, check_base, told_by_measuring
    from erasure.verdict.examine import examine_lora
    from erasure.verdict.measurement import measure_task

    checkpoint, opening = arguments.checkpoint, opening_of(arguments)
    check = check_base(read_lora_header(arguments.file).metadata, inspect_checkpoint(checkpoint))
    print(f"its base: {printable(check.line)}", flush=True)
    if check.same or arguments.hash_only:
        return
    given = {"erase": arguments.erase, "judged_words": FEW_WORDS}
    task = measure_task(checkpoint, arguments.file, given, opening=opening)
    print("loading the checkpoint ...", file=sys.stderr)
    measured = with_shares(examine_lora(task, device=arguments.device or default_device()), "judged")
    print_notes(measured.notes)
    print(told_by_measuring(measured.verdict, stated))
    for line in (*lines(measured.verdict), hurt_line(measured.verdict)):
        if line:
            print(f"  {printable(line)}")


def _verdict_lines(values: dict[str, Any] | None) -> list[str]:
    """Return what the maker's run measured, in words; nothing if the file does not say, or says nonsense."""
    verdict = stated_verdict(values)
    if verdict is None:
        return []
    return [
        "measured after training, by the maker:",
        *(f"  {printable(line)}" for line in lines(verdict)),
    ]
