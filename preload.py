"""The extension's own command-line flags. The web UI reads this file before anything else."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Add the flags to the web UI's parser."""
    parser.add_argument(
        "--adversarial-erase-data",
        metavar="DIR",
        default=None,
        help="folder for the runs and presets of Adversarial Erase (default: adversarial-erase in the data folder)",
    )
