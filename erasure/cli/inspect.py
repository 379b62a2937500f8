"""``python -m erasure inspect``: what a LoRA file is and does, or what is baked into a checkpoint, and its base."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure.cli.flags import Commands, add_command, add_model_flags, opening_of, print_notes
from erasure.cli.printable import printable
from erasure.cli.shares import with_shares
from erasure.console import json_text
from erasure.errors import ConfigError
from erasure.lora.parts import UNMEASURED
from erasure.verdict.verdict import hurt_line, lines, stated_verdict

if TYPE_CHECKING:
    from erasure.verdict.base_check import BaseCheck


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "inspect", "explain a LoRA file, or what is baked into a checkpoint")
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the LoRA file, or the checkpoint: a file or a diffusers folder")
    add_model_flags(parser, required=False)
    add("--erase", action="append", metavar="TEXT", help="what it should erase (default: what the file says)")
    add("--hash-only", action="store_true", help="tell a base by its hash alone, and measure nothing")
    add("--json", action="store_true", help="print it as JSON; with --checkpoint, of a LoRA, only with --hash-only")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.checkpoint is None and (arguments.erase or arguments.hash_only):
        raise ConfigError(["--erase and --hash-only go with --checkpoint, the base that the file is compared with"])
    from erasure.bake.explain import is_checkpoint

    if is_checkpoint(arguments.file):
        return _explain_checkpoint(arguments)
    if arguments.json and arguments.checkpoint is not None and not arguments.hash_only:
        raise ConfigError(["--json: does not go with measuring; add --hash-only, or see: python -m erasure judge"])
    from erasure.lora.explain import explain_lora

    report = explain_lora(arguments.file)
    if arguments.json:
        return _print_json(report.to_dict(), None if arguments.checkpoint is None else _base_check(arguments))
    print(report)
    if report.verdict is None and report.combined is not None and not report.combined.refined:
        print(f"measured: {UNMEASURED}")
    for line in _verdict_lines(report.verdict):
        print(line, flush=True)
    if arguments.checkpoint is not None:
        _compare(arguments, report.verdict)
    return 0


def _explain_checkpoint(arguments: argparse.Namespace) -> int:
    """Print what a checkpoint says was baked into it, and whether another is its base, which a hash alone tells."""
    if arguments.erase:
        raise ConfigError(["--erase: goes with a LoRA file; a checkpoint says itself what was erased from it"])
    from erasure.bake.explain import check_bake_base, explain_checkpoint
    from erasure.model.checkpoint import inspect_checkpoint

    report = explain_checkpoint(arguments.file)
    base = None
    if arguments.checkpoint is not None and report.baked:
        base = check_bake_base(report.baked, inspect_checkpoint(arguments.checkpoint).path)
    if arguments.json:
        return _print_json(report.to_dict(), base)
    for line in (*report.lines, *([] if base is None else [f"its base: {base.line}"])):
        print(printable(line))
    return 0


def _print_json(report: dict[str, Any], base: BaseCheck | None) -> int:
    print(json_text({**report, "base_check": None if base is None else vars(base)}))
    return 0


def _base_check(arguments: argparse.Namespace) -> BaseCheck:
    from erasure.lora.file import read_lora_header
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.verdict.base_check import check_base

    return check_base(read_lora_header(arguments.file).metadata, inspect_checkpoint(arguments.checkpoint))


def _compare(arguments: argparse.Namespace, stated: dict[str, Any] | None) -> None:
    """Print whether the checkpoint is the base: by hash, or else by measuring what the LoRA does there."""
    from erasure.model.device import default_device
    from erasure.verdict.base_check import FEW_WORDS, told_by_measuring
    from erasure.verdict.examine import examine_lora
    from erasure.verdict.measurement import measure_task

    checkpoint, opening = arguments.checkpoint, opening_of(arguments)
    check = _base_check(arguments)
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
