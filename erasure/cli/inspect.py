"""``python -m erasure inspect``: what a LoRA file is and does."""

from __future__ import annotations

import argparse
from pathlib import Path

from erasure.cli.flags import Commands, add_command


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "inspect", "explain a LoRA file")
    parser.add_argument("file", type=Path, metavar="FILE", help="the LoRA file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from erasure.lora.explain import explain_lora

    print(explain_lora(arguments.file))
    return 0
