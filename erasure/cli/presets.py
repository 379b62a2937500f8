"""``python -m erasure presets``: the bundled starting points."""

from __future__ import annotations

import argparse
from typing import Any

from erasure.config.presets import presets


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("presets", help="list the bundled presets")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    for name, preset in presets().items():
        print(f"{name:12} {preset.description}")
    return 0
