"""``python -m erasure presets``: the bundled starting points."""

from __future__ import annotations

import argparse

from erasure.cli.flags import Commands, add_command
from erasure.config.presets import presets


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "presets", "list the bundled presets")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    bundled = presets()
    width = max(map(len, bundled))
    for name, preset in bundled.items():
        print(f"{name:{width}}  {preset.description}")
    return 0
