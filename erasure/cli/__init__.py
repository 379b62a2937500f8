"""The command line: ``python -m erasure COMMAND``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from erasure.cli import (
    app,
    attack,
    bake,
    bench,
    combine,
    concepts,
    inspect,
    judge,
    presets,
    preview,
    share,
    spectrum,
    train,
)
from erasure.console import print_any_character
from erasure.errors import ConfigError, EraseError, OutputExists, OutputRefused
from erasure.jobs.problems import describe
from erasure.model.device import device_problem

FAILED, BAD_ARGUMENTS, STOPPED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 1 failed, 2 bad arguments, 130 stopped."""
    print_any_character()
    parser = argparse.ArgumentParser(
        prog="python -m erasure",
        description="Erase concepts from Stable Diffusion 1.x, 2 and XL with a LoRA, keeping what would be hurt most.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ways = (train, concepts, preview, judge, attack, inspect, share, combine, bake, presets, bench, spectrum, app)
    for command in ways:
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        _check_devices(arguments)
        run: Callable[[argparse.Namespace], int] = arguments.run
        return run(arguments)
    except (ConfigError, OutputExists, OutputRefused) as error:
        print(f"error: {error}".replace("\n", "\nerror: "), file=sys.stderr)
        return BAD_ARGUMENTS
    except EraseError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its end
        return FAILED
    except OSError as error:
        print(f"error: {describe(error)}", file=sys.stderr)
        return FAILED
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which may not be imported
            raise
        print(
            "error: the device ran out of memory; close other programs that use it, or choose a smaller picture, fewer "
            "at once, or --device cpu",
            file=sys.stderr,
        )
        return FAILED
    except KeyboardInterrupt:
        print("stopped without saving", file=sys.stderr)
        return STOPPED


def _check_devices(arguments: argparse.Namespace) -> None:
    """Raises: ConfigError for a device that is not there, before the command does or loads anything."""
    problems = []
    for flag in ("device", "picture_device"):
        name = getattr(arguments, flag, None)
        problem = device_problem(name) if name is not None else ""
        if problem:
            problems.append(f"--{flag.replace('_', '-')}: {problem}")
    if problems:
        raise ConfigError(problems)
