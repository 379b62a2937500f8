"""The command line: ``python -m erasure COMMAND``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from erasure.cli import app, bench, concepts, inspect, judge, presets, preview, spectrum, train
from erasure.errors import ConfigError, EraseError, OutputExists, one_line

FAILED, BAD_ARGUMENTS, STOPPED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 failed, 2 bad arguments, 130 stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m erasure",
        description="Erase concepts from Stable Diffusion 1.x with a LoRA, preserving what would be hurt most.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (train, concepts, preview, judge, inspect, presets, bench, spectrum, app):
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        run: Callable[[argparse.Namespace], int] = arguments.run
        return run(arguments)
    except (ConfigError, OutputExists) as error:
        print(f"error: {error}".replace("\n", "\nerror: "), file=sys.stderr)
        return BAD_ARGUMENTS
    except EraseError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:  # a place that no file can have, a disk that is full
        print(f"error: {one_line(str(error))}; check the path and the disk", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped without saving", file=sys.stderr)
        return STOPPED
