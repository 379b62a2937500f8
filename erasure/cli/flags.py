"""Flags from the config: every field of EraseConfig is one, with its help, default and range."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from erasure.config.presets import preset
from erasure.config.setting import GROUPS, Setting
from erasure.config.settings import EraseConfig, settings
from erasure.config.values import config_from_dict, config_from_file
from erasure.families.known import supported


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """``--preset``, ``--config`` and a flag per setting; a flag that is not given is absent from the namespace."""
    parser.add_argument("--preset", metavar="NAME", help="start from a preset (see: python -m erasure presets)")
    parser.add_argument("--config", type=Path, metavar="FILE.json", help="settings from a file; flags override them")
    described = settings()
    for group in GROUPS:
        section = parser.add_argument_group(group)
        for name, about in described.items():
            if about.group == group:
                section.add_argument(flag(name), dest=name, help=_help(about), **_kind(about))


def flag(name: str) -> str:
    """``learning_rate`` -> ``--learning-rate``"""
    return "--" + name.replace("_", "-")


def config_from_flags(arguments: argparse.Namespace) -> EraseConfig:
    """What is asked for by the preset, then the file, then the flags. Raises: ConfigError with all problems."""
    values: dict[str, Any] = {}
    if arguments.preset:
        values.update(preset(arguments.preset).settings)
    if arguments.config:
        values.update(config_from_file(arguments.config))
    return config_from_dict({**values, **given_settings(arguments)})


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags."""
    return {name: getattr(arguments, name) for name in settings() if hasattr(arguments, name)}


def add_model_flags(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--checkpoint", type=Path, required=required, metavar="FILE", help=f"{supported()} checkpoint")
    parser.add_argument("--device", metavar="NAME", help="cuda, mps or cpu; default: the best there is")


def _kind(about: Setting) -> dict[str, Any]:
    kind = about.type
    absent: dict[str, Any] = {"default": argparse.SUPPRESS}
    if kind is bool:
        return {**absent, "action": argparse.BooleanOptionalAction}
    if kind is tuple:
        return {**absent, "action": "append", "metavar": "TEXT"}
    # Ranges and choices are checked with the whole config, so that all problems show at once.
    choices = about.choices
    return {**absent, "type": kind, "metavar": "|".join(choices) if choices else kind.__name__.upper()}


def _help(about: Setting) -> str:
    default = about.default
    shown = " ".join(default) if isinstance(default, tuple) else str(default)
    facts = [f"default: {shown}"] if shown else []
    if about.usual:
        facts.append(f"usual: {about.usual}")
    elif about.low is not None and about.high is not None:
        facts.append(f"{about.low:g} to {about.high:g}")
    return (about.help + (f" ({'; '.join(facts)})" if facts else "")).replace("%", "%%")
