"""``python -m erasure inspect``: what a LoRA file is and does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from erasure.cli.flags import Commands, add_command
from erasure.cli.printable import printable
from erasure.verdict.verdict import Verdict, lines


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "inspect", "explain a LoRA file")
    parser.add_argument("file", type=Path, metavar="FILE", help="the LoRA file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from erasure.lora.explain import explain_lora

    report = explain_lora(arguments.file)
    print(report)
    for line in _verdict_lines(report.verdict):
        print(line)
    return 0


def _verdict_lines(values: dict[str, Any] | None) -> list[str]:
    """Return what the maker's run measured, in words; nothing if the file does not say, or says nonsense."""
    if values is None:
        return []
    try:
        found = lines(Verdict.from_dict(values))
    except (KeyError, TypeError, ValueError):
        return []
    return [
        "measured after training, by the maker:",
        *(f"  {printable(line)}" for line in found),
    ]
