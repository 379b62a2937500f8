"""What the commands have in common: a flag for every setting, with its help, default and range."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias, get_args

from erasure.cli.printable import printable
from erasure.concepts.clashes import start_problems
from erasure.config.presets import preset
from erasure.config.setting import GROUPS, Setting
from erasure.config.settings import EraseConfig, settings
from erasure.config.values import config_from_dict, config_from_file
from erasure.errors import ConfigError
from erasure.families.known import supported
from erasure.model.opening import Ema, Opening

DEVICE_HELP = "cuda, mps or cpu (default: the best that this machine has)"

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(commands: Commands, name: str, does: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Add a command. ``does`` describes it in the list of commands and in its own help."""
    return commands.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--preset``, ``--config`` and a flag per setting. A flag that is not given is absent from the namespace."""
    parser.add_argument("--preset", metavar="NAME", help="start from a preset (see: python -m erasure presets)")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE.json",
        help="settings from a file, or from the run.json of a run; flags override them",
    )
    described = settings()
    for group in GROUPS:
        section = parser.add_argument_group(group)
        for name, about in described.items():
            if about.group == group:
                section.add_argument(flag(name), dest=name, help=_help(about), **_kind(about))


def flag(name: str) -> str:
    """Return the flag of a setting: ``learning_rate`` -> ``--learning-rate``."""
    return "--" + name.replace("_", "-")


def config_from_flags(arguments: argparse.Namespace) -> EraseConfig:
    """Return the config of preset, file and flags; the later overrides. Raises: ConfigError with all problems."""
    values: dict[str, Any] = {}
    if arguments.preset:
        values.update(preset(arguments.preset).settings)
    if arguments.config:
        values.update(config_from_file(arguments.config))
    config = config_from_dict({**values, **given_settings(arguments)})
    problems = start_problems(config)
    if problems:
        raise ConfigError(problems)
    return config


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given as flags."""
    return {name: getattr(arguments, name) for name in settings() if hasattr(arguments, name)}


def add_model_flags(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--checkpoint``, the flags of :func:`add_opening_flags`, and ``--device``."""
    parser.add_argument("--checkpoint", type=Path, required=required, metavar="FILE", help=f"{supported()} checkpoint")
    add_opening_flags(parser)
    parser.add_argument("--device", metavar="NAME", help=DEVICE_HELP)


def add_lora_flags(parser: argparse.ArgumentParser) -> None:
    """Add the LoRA file that is to be measured, its weight, and what :func:`lora_settings` reads."""
    add = parser.add_argument
    add("--lora", type=Path, required=True, metavar="FILE", help="the LoRA file, of any origin")
    add("--weight", type=float, default=1.0, metavar="X", help="its weight, as in <lora:name:X> (default: 1)")
    add("--erase", action="append", metavar="TEXT", help="what it should erase (default: what the file says)")
    add("--synonym", action="append", metavar="TEXT", help="another name of it; repeat for several")
    add("--template", action="append", metavar="TEXT",
        help="a prompt with {} in place of the concept; repeat for several (default: what the file says)")  # fmt: skip
    add("--preset", default="object", metavar="NAME",
        help="kind of concept, for what the file does not say of prompts and words (default: object)")  # fmt: skip


def lora_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was given in place of what a LoRA file says of itself; None for what was not."""
    return {"erase": arguments.erase, "synonym": arguments.synonym, "templates": arguments.template}


def add_opening_flags(parser: argparse.ArgumentParser) -> None:
    """Add what may be chosen of a checkpoint, ``--ema`` and ``--vae``."""
    parser.add_argument(
        "--ema",
        choices=get_args(Ema),
        help="weights to take from a checkpoint that has averaged (EMA) ones beside plain ones (default: auto, those "
        "that the web UI draws with: plain, unless the yaml beside it says use_ema: true)",
    )
    parser.add_argument(
        "--vae", type=Path, metavar="FILE", help="VAE to draw pictures with (default: the checkpoint's own)"
    )


def opening_of(arguments: argparse.Namespace) -> Opening:
    """Return what the flags of :func:`add_opening_flags` choose."""
    return Opening(arguments.ema or "auto", arguments.vae)


def print_notes(notes: Iterable[str]) -> None:
    """Print what people should know of a checkpoint to stderr, so that stdout can be read by programs."""
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)


_METAVARS: dict[type, str] = {int: "N", float: "X", str: "TEXT"}


def _kind(about: Setting) -> dict[str, Any]:
    kind = about.type
    absent: dict[str, Any] = {"default": argparse.SUPPRESS}
    if kind is bool:
        return {**absent, "action": argparse.BooleanOptionalAction}
    if kind is tuple:
        return {**absent, "action": "append", "metavar": "TEXT"}
    # Ranges and choices are checked with the whole config, so that all problems show at once.
    choices = about.choices
    return {**absent, "type": kind, "metavar": "|".join(choices) if choices else _METAVARS[kind]}


def _help(about: Setting) -> str:
    default = about.default
    shown = " ".join(default) if isinstance(default, tuple) else str(default)
    facts = [f"default: {shown}"] if shown else []
    if about.usual:
        facts.append(f"usual: {about.usual}")
    elif about.low is not None and about.high is not None:
        facts.append(f"{_number(about.low)} to {_number(about.high)}")
    return (about.help + (f" ({'; '.join(facts)})" if facts else "")).replace("%", "%%")


def _number(value: float) -> str:
    """Return a number in full: 4294967295, not 4.29497e+09."""
    return str(int(value)) if value == int(value) else f"{value:g}"
