"""The extension's own command-line flags. The web UI reads this file before anything else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def preload(parser: argparse.ArgumentParser) -> None:
    """Add the flags to the web UI's parser."""
    parser.add_argument(
        "--adversarial-erase-data",
        metavar="DIR",
        default=None,
        help="folder for the runs and presets of Adversarial Erase (default: adversarial-erase in the data folder)",
    )
    parser.add_argument(
        "--adversarial-erase-always",
        metavar="NAME[:WEIGHT]",
        action="append",
        type=_rule,
        default=None,
        help="keep this LoRA on in every picture, whatever its prompt says; repeat for several",
    )
    parser.add_argument(
        "--adversarial-erase-upload",
        action="store_true",
        help="let the page upload shared LoRAs to the Hugging Face Hub, with this machine's login",
    )


def _rule(text: str) -> str:
    """Return the text if it is a rule, so that the web UI does not start without one that was meant."""
    folder = str(Path(__file__).resolve().parent)
    sys.path.insert(0, folder)
    try:
        from erasure.errors import ConfigError
        from erasure.host.always_on import read_rule

        try:
            read_rule(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    finally:
        sys.path.remove(folder)
    return text
