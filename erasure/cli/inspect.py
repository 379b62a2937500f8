"""``python -m erasure inspect``: what a LoRA file is and does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("inspect", help="explain a LoRA file")
    parser.add_argument("file", type=Path)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from erasure.lora.explain import explain_lora

    print(explain_lora(arguments.file))
    return 0
