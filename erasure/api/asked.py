"""From a request's body to a checkpoint, a name and a config; every problem is told at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from erasure.config.presets import preset, quality_settings
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError
from erasure.families.known import supported
from erasure.host.base import Host, bare_title, same_title
from erasure.jobs.names import suggest_name, taken_names
from erasure.jobs.readiness import readiness
from erasure.jobs.vocabularies import kept_vocabulary, vocabulary_folder


@dataclass(frozen=True)
class Asked:
    """What to erase from where; ``name`` is that of the LoRA."""

    checkpoint: Path
    name: str
    config: EraseConfig


def preset_folder(host: Host) -> Path:
    return host.data_folder() / "presets"


def unknown_fields(body: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """One problem per field that means nothing."""
    problems = []
    for name in sorted(set(body) - set(known)):
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known)) or 'none'}"
        problems.append(f"there is no field {name!r}; {hint}")
    return problems


def asked_job(host: Host, body: Mapping[str, Any], coming: Collection[str] = ()) -> Asked:
    """``coming`` are the names of LoRAs that jobs are about to make. Raises: ConfigError with every problem."""
    problems = unknown_fields(body, ("checkpoint", "name", "preset", "quality", "config"))
    values, wrong = _values(host, body)
    checkpoint, missing = _checkpoint(host, body.get("checkpoint"))
    problems += wrong + missing
    name = body.get("name")
    if not isinstance(name, str):
        if name is not None:
            problems.append("name: the LoRA's name is a text")
        erase = values.get("erase", ())
        texts = [erase] if isinstance(erase, str) else erase if isinstance(erase, (list, tuple)) else []
        taken = taken_names(host.lora_folder()) | {each.casefold() for each in coming}
        name = suggest_name([text for text in texts if isinstance(text, str)], taken)
    config = _config(values)
    if problems or config is None or checkpoint is None:
        others = readiness(host, checkpoint, name, values)
        if missing:
            others = [text for text in others if not text.startswith("no checkpoint")]
        raise ConfigError([*problems, *(text for text in others if text not in problems)])
    return Asked(checkpoint, name, config)


def asked_concepts(host: Host, body: Mapping[str, Any]) -> tuple[Path, EraseConfig]:
    """Checkpoint and config whose concepts are wanted. Raises: ConfigError with every problem of the body."""
    problems = unknown_fields(body, ("checkpoint", "preset", "config"))
    values, wrong = _values(host, body)
    checkpoint, missing = _checkpoint(host, body.get("checkpoint"))
    problems += wrong + missing
    if checkpoint is None and not missing:
        problems.append(f"no checkpoint is loaded: choose {supported()} checkpoint")
    try:
        config = config_from_dict(values)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if problems or checkpoint is None:
        raise ConfigError(problems)
    return checkpoint, config


def _config(values: Mapping[str, Any]) -> EraseConfig | None:
    try:
        return config_from_dict(values)
    except ConfigError:
        return None


def _values(host: Host, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The preset's settings, changed by the config's, updates scaled by the quality; not checked yet."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    wanted, config, quality = body.get("preset"), body.get("config"), body.get("quality")
    if isinstance(wanted, str):
        try:
            values.update(preset(wanted, preset_folder(host)).settings)
        except ConfigError as error:
            problems += error.problems
    elif wanted is not None:
        problems.append("preset: the name of a preset is a text")
    if isinstance(config, Mapping):
        values.update(config)
    elif config is not None:
        problems.append("config: an object is needed, setting -> value")
    if isinstance(quality, str):
        try:
            values = quality_settings(quality, values)
        except ConfigError as error:
            problems += error.problems
    elif quality is not None:
        problems.append("quality: the name of a quality is a text")
    file = values.get("vocabulary_file")
    if isinstance(file, str) and file:
        values["vocabulary_file"] = ""
        try:
            values["vocabulary_file"] = str(kept_vocabulary(vocabulary_folder(host.data_folder()), file))
        except ConfigError as error:
            problems += error.problems
    return values, problems


def _checkpoint(host: Host, wanted: Any) -> tuple[Path | None, list[str]]:
    """By title with or without its hash, or by file name with or without its ending; never by a path. The loaded one
    for None."""
    if wanted is None:
        current = host.current_checkpoint()
        return (current.path if current else None), []
    if not isinstance(wanted, str):
        return None, ["checkpoint: the title of a checkpoint is a text"]
    every = host.checkpoints()
    titled = [one.path for one in every if same_title(one.title, wanted)]
    name = bare_title(wanted)
    # A hash that is asked for must not lead to a file with another.
    open_to = [one for one in every if wanted == name or bare_title(one.title) == one.title]
    named = titled or [one.path for one in open_to if name in (one.path.name, one.path.stem)]
    if len(named) == 1:
        return named[0], []
    if named:
        titles = ", ".join(repr(one.title) for one in every if one.path in named)
        return None, [f"several checkpoints are called {wanted!r}; choose by title: {titles}"]
    there = ", ".join(repr(one.title) for one in every[:20]) or "none"
    return None, [f"there is no checkpoint {wanted!r}; there are {there}"]
