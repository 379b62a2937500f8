"""What a run will take, and why it cannot start: from file headers and earlier runs, without loading a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.config import EraseConfig, config_from_dict
from erasure.errors import ConfigError, EraseError, RunError
from erasure.host.base import Host
from erasure.jobs.names import safe_name, taken_names


@dataclass(frozen=True)
class Estimate:
    """``seconds`` and ``bytes`` of memory, None where nothing is known; ``basis`` says in words what they rest on."""

    seconds: float | None
    bytes: int | None
    basis: str


def estimate(config: EraseConfig, checkpoint: Path, device: str, runs_folder: Path) -> Estimate:
    return Estimate(None, None, "not known before the first run")


def readiness(host: Host, checkpoint: Path | None, name: str, values: Mapping[str, Any]) -> list[str]:
    """Every reason why this cannot start, in plain language; empty: it can. ``values`` are those of a config."""
    config: EraseConfig | None = None
    problems: list[str] = []
    try:
        config = config_from_dict(values)
    except ConfigError as error:
        problems += error.problems
    if config is not None and config.vocabulary_file and not Path(config.vocabulary_file).is_file():
        problems.append(f"vocabulary_file: there is no file {config.vocabulary_file}; check its path")
    problems += _checkpoint_problems(checkpoint)
    problems += _name_problems(name, host.lora_folder())
    for what, folder in (("Lora folder", host.lora_folder()), ("folder for runs", host.data_folder())):
        problems += _folder_problems(what, folder)
    return problems


def _checkpoint_problems(checkpoint: Path | None) -> list[str]:
    if checkpoint is None:
        return ["no checkpoint is loaded: choose an SD 1.x checkpoint"]
    from erasure.core.checkpoint import inspect_checkpoint

    try:
        inspect_checkpoint(checkpoint)
    except EraseError as error:
        return [str(error).replace(str(checkpoint), checkpoint.name)]
    return []


def _name_problems(name: str, lora_folder: Path) -> list[str]:
    try:
        safe_name(name)
    except RunError as error:
        return [str(error)]
    if name.casefold() in taken_names(lora_folder):
        return [f"there is a LoRA {name!r} already; choose another name"]
    return []


def _folder_problems(what: str, folder: Path) -> list[str]:
    there = next((part for part in (folder, *folder.parents) if part.exists()), folder)
    if not there.is_dir():
        return [f"the {what} {folder} cannot be made: {there.name} is a file; move it away"]
    if not os.access(there, os.W_OK | os.X_OK):
        return [f"the {what} {folder} cannot be written; change its permissions"]
    return []
