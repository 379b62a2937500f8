"""The extension's own command-line flags; the web UI reads this before anything else."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Add the flags to the web UI's parser."""
    parser.add_argument(
        "--adversarial-erase-data",
        metavar="DIR",
        default=None,
        help="where Adversarial Erase keeps its runs and presets (adversarial-erase in the data folder)",
    )
