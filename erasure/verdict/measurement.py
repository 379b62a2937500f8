"""Measuring a LoRA file of any origin: what is measured, on what, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.concepts.clashes import clashes
from erasure.config.concept_texts import as_written, read_lists
from erasure.config.presets import preset
from erasure.config.settings import EraseConfig, settings
from erasure.config.values import config_from_dict, settle_values
from erasure.errors import ConfigError, shown
from erasure.lora.file import LoraFile, read_lora
from erasure.lora.fit import check_family
from erasure.lora.metadata import CONFIG_KEY, json_object
from erasure.lora.weight import LARGEST_WEIGHT
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint, sha256
from erasure.model.opening import AS_DRAWN, Opening
from erasure.verdict.base_check import check_base
from erasure.verdict.verdict import Verdict, told_verdict

# What belongs to certain concepts, and has no meaning for others.
_CONCEPTS = ("erase", "anchor", "synonym", "preserve")


@dataclass(frozen=True)
class MeasureTask:
    """A LoRA file that is to be measured on a checkpoint, put on at ``weight`` as in ``<lora:name:weight>``.

    ``config``: what it should erase and keep, and how the words to judge are chosen. ``notes``: what the user should
    know, one line each.
    """

    checkpoint: CheckpointInfo
    file: LoraFile
    config: EraseConfig
    weight: float = 1.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """What was found. ``notes`` are those of the task, and those that came up while measuring."""

    task: MeasureTask
    verdict: Verdict
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; of files, their names."""
        return {
            "lora": self.task.file.path.name,
            "checkpoint": self.task.checkpoint.path.name,
            "weight": self.task.weight,
            "erase": list(self.task.config.erase),
            "notes": list(self.notes),
            **told_verdict(self.verdict),
        }


def measure_task(
    checkpoint: Path,
    lora: Path,
    given: Mapping[str, Any],
    weight: Any = 1.0,
    *,
    usual: Mapping[str, Any] | None = None,
    opening: Opening = AS_DRAWN,
) -> MeasureTask:
    """Read what is to be measured, before any work.

    ``given``: settings as JSON types, in place of what the file says of itself; those that are None or empty do not
    count. Concepts of the file count only if ``erase`` is not given. ``usual``: settings of a preset, for what the file
    does not say of prompts and words (None: of the preset object); its concepts do not count. Raises: ConfigError for
    a weight or a setting that cannot be used, or if nobody says what is erased; CheckpointError; LoraFileError.
    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not abs(weight) <= LARGEST_WEIGHT:
        raise ConfigError([f"weight: {shown(weight)} is not a number from -{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}"])
    given = {name: value for name, value in given.items() if value not in (None, "", [], ())}
    info, file = inspect_checkpoint(checkpoint).opened(opening), read_lora(lora)
    check_family(file, info.family)
    config, notes = _config(file, given, preset("object").settings if usual is None else usual)
    problems = [f"preserve: {problem}" for problem in clashes(config)]
    if problems:
        raise ConfigError(problems)
    return MeasureTask(info, file, config, float(weight), notes)


def base_note(file: LoraFile, checkpoint: CheckpointInfo, sha256_of: Callable[[Path], str] = sha256) -> str:
    """Return a note if the file says that it was made from another checkpoint, else "".

    ``sha256_of``: called with the checkpoint's path, if its hash is needed. Raises: OSError.
    """
    check = check_base(file.metadata, checkpoint, sha256_of)
    if check.same is not False:
        return ""
    return f"{file.path.name} {check.line.removeprefix('it ')}: it may erase less or hurt more here than there"


def _config(file: LoraFile, given: Mapping[str, Any], usual: Mapping[str, Any]) -> tuple[EraseConfig, tuple[str, ...]]:
    """Return the settings to judge with, the file's own where it has some, and notes on what could not be used."""
    problems = settle_values({"erase": ["any"], **given}).problems
    if problems:
        raise ConfigError(problems)
    name, notes = file.path.name, list(read_lists(given).notes)
    said = json_object(file.metadata, CONFIG_KEY) or {}
    told = as_written(_deciding(said))
    usual = {key: value for key, value in _deciding(usual).items() if key not in _CONCEPTS}
    if said.get("vocabulary") == "file":
        notes.append(f"the words that {name} was made to keep are not in it; other common words are judged")
    if "erase" in given:
        told = {key: value for key, value in told.items() if key not in _CONCEPTS}
    elif not told.get("erase"):
        raise ConfigError([f"erase: {name} does not say what it erases; name the concept"])
    try:
        return config_from_dict({**usual, **told, **given}), tuple(notes)
    except ConfigError as error:
        why = "; ".join(error.problems)
        if "erase" not in given:
            raise ConfigError(
                [f"erase: what {name} says of itself cannot be used ({why}); name the concept"]
            ) from error
        notes = [*read_lists(given).notes, f"what {name} says of how it was made cannot be used: {why}"]
        return config_from_dict({**usual, **given}), tuple(notes)


def _deciding(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those settings that decide which words are judged and in which prompts, unchecked.

    A file of words is on its maker's machine, so the vocabulary is then left open.
    """
    names = [name for name, about in settings().items() if about.decides_space]
    found = {name: values[name] for name in (*names, "erase_synonyms") if name in values}
    found.pop("vocabulary_file", None)
    if found.get("vocabulary") == "file":
        del found["vocabulary"]
    return found
