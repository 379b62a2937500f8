"""Why a run cannot start: every reason at once, before any work is done."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from erasure.concepts.clashes import start_problems
from erasure.config.settings import EraseConfig
from erasure.errors import EraseError, RunError, shown
from erasure.families.full_size import MIB
from erasure.families.known import supported
from erasure.host.base import Host
from erasure.jobs.names import safe_name, taken_names
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint
from erasure.model.device import absent, precision_problem

_DISK_ALWAYS = 50 * MIB  # for pictures and log
NO_CHECKPOINT = f"no checkpoint is loaded: choose {supported()} checkpoint"


def readiness(host: Host, checkpoint: Path | None, name: str, config: EraseConfig | None) -> list[str]:
    """Return every reason why a run cannot start; none if it can.

    ``config``: None where the settings have problems, which whoever read them tells.
    """
    problems: list[str] = []
    problems += [] if config is None else _vocabulary_problems(config)
    problems += [] if config is None else start_problems(config)
    problems += [] if config is None else device_problems(host.device(), config)
    info, unfit = _inspected(checkpoint)
    problems += unfit
    problems += _name_problems(name, host.lora_folder())
    folders = {host.lora_folder(): "Lora folder", host.data_folder(): "folder for runs"}
    blocked = [problem for folder, what in folders.items() for problem in _folder_problems(what, folder)]
    problems += blocked
    if config is not None and info is not None and not blocked:
        problems += _disk_problems(config, info, host.data_folder())
    return problems


def _vocabulary_problems(config: EraseConfig) -> list[str]:
    try:
        there = not config.vocabulary_file or Path(config.vocabulary_file).is_file()
    except OSError as error:
        return [f"vocabulary_file: {shown(config.vocabulary_file)} cannot be read ({error.strerror}); check its path"]
    return [] if there else [f"vocabulary_file: there is no file {config.vocabulary_file}; check its path"]


def device_problems(device: str, config: EraseConfig) -> list[str]:
    """Return why this config cannot be trained on the host's device; none if it can."""
    problem = absent(device)
    if problem:
        return [f"device: {problem}; choose another in the settings"]
    problem = precision_problem(device, config.precision)
    return [problem] if problem else []


def _inspected(checkpoint: Path | None) -> tuple[CheckpointInfo | None, list[str]]:
    if checkpoint is None:
        return None, [NO_CHECKPOINT]
    try:
        return inspect_checkpoint(checkpoint), []
    except EraseError as error:
        # A page need not know where files are.
        return None, [str(error).replace(str(checkpoint), checkpoint.name)]


def _name_problems(name: str, lora_folder: Path) -> list[str]:
    try:
        safe_name(name)
    except RunError as error:
        return [str(error)]
    if name.casefold() in taken_names(lora_folder):
        return [f"there is a LoRA {name!r} already; choose another name"]
    return []


def _folder_problems(what: str, folder: Path) -> list[str]:
    there = _existing(folder)
    if not there.is_dir():
        return [f"the {what} {folder} cannot be created: {there.name} is a file; move or rename that file"]
    if not os.access(there, os.W_OK | os.X_OK):
        return [f"the {what} {folder} cannot be written; change its permissions"]
    return []


def _disk_problems(config: EraseConfig, info: CheckpointInfo, folder: Path) -> list[str]:
    try:
        free = shutil.disk_usage(_existing(folder)).free
    except OSError:
        return []
    full = info.family.full
    needed = _DISK_ALWAYS + full.state_per_rank * config.rank * math.sqrt(info.size.unet / full.unet)
    if free >= needed:
        return []
    return [
        f"the disk is almost full: a run may need {needed / MIB:.0f} MB, and {free / MIB:.0f} MB are free; "
        "free up some space"
    ]


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next((part for part in (folder, *folder.parents) if part.exists()), folder)
