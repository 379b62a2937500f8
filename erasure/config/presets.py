"""Presets, named starting points for a config: bundled ones beside this file, and the user's own in a folder of theirs.

A preset is a JSON file ``{"description": ..., "settings": {...}}``; its name is the file's stem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, OutputExists, RunError
from erasure.whole_file import write_text

BUNDLED = Path(__file__).parent / "bundled"
# Presets that say how a kind of concept is erased, in the order in which they are offered.
KINDS = ("object", "style", "person", "nudity")

Quality = Literal["quick", "normal", "thorough"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
# Updates, relative to what the settings say.
_UPDATES: dict[str, float] = {"quick": 0.5, "normal": 1.0, "thorough": 2.0}

_NAME = re.compile(r"\w(?:[\w .()+-]{0,58}[\w)+-])?")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Preset:
    name: str
    description: str
    settings: dict[str, Any]


def presets(*folders: Path) -> dict[str, Preset]:
    """All presets by name: the bundled ones, then those of ``folders``; of two with one name the first counts.

    Files of the user that hold no preset are left out; :func:`preset` says what is wrong with one.
    """
    found: dict[str, Preset] = {}
    for folder in (BUNDLED, *folders):
        for path in sorted(folder.glob("*.json")):
            if path.stem in found:
                continue
            try:
                found[path.stem] = _read(path)
            except ConfigError:
                if folder == BUNDLED:
                    raise
    return found


def preset(name: str, *folders: Path) -> Preset:
    """Raises: ConfigError for a name that is not there, and for a file that holds no preset."""
    known = presets(*folders)
    if name in known:
        return known[name]
    if _NAME.fullmatch(name):
        for folder in folders:
            if (folder / f"{name}.json").is_file():
                return _read(folder / f"{name}.json")
    raise ConfigError([f"there is no preset {name!r}; there are {', '.join(known)}"])


def save_preset(
    folder: Path, name: str, description: str, settings: Mapping[str, Any], *, overwrite: bool = False
) -> Preset:
    """Write ``settings`` (some or all of a config's) as the user's preset ``name`` into ``folder``.

    Raises: ConfigError with every problem of name and settings; OutputExists if there is one and ``overwrite`` was
    not asked for; RunError if the folder cannot be written.
    """
    problems = [*_name_problems(name), *_settings_problems(settings)]
    if not isinstance(description, str) or len(description) > 300 or not description.isprintable():
        problems.append("the description of a preset is one line of at most 300 characters")
    if problems:
        raise ConfigError(problems)
    if not overwrite and name.casefold() in {path.stem.casefold() for path in folder.glob("*.json")}:
        raise OutputExists(f"there is a preset {name!r} already; choose another name, or ask to overwrite it")
    text = json.dumps({"description": description, "settings": dict(settings)}, ensure_ascii=False, indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.json", text + "\n")
    except OSError as error:
        raise RunError(f"the preset {name!r} cannot be written: {error.strerror}; free space or rights") from error
    return Preset(name, description, dict(settings))


def delete_preset(folder: Path, name: str) -> None:
    """Delete a preset of the user's. Raises: ConfigError if it is bundled or not there; RunError if it stays."""
    if (BUNDLED / f"{name}.json").is_file() and _NAME.fullmatch(name):
        raise ConfigError([f"the preset {name!r} is bundled and cannot be deleted"])
    path = folder / f"{name}.json"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise ConfigError([f"there is no preset {name!r} of your own"])
    try:
        path.unlink()
    except OSError as error:
        raise RunError(f"the preset {name!r} cannot be deleted: {error.strerror}") from error


def quality_settings(quality: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with the number of updates as ``quality`` asks: half, all or twice of what they (or the defaults) say.

    Raises: ConfigError for an unknown quality; what is wrong with the values is left to the config's own checks.
    """
    if quality not in QUALITIES:
        raise ConfigError([f"there is no quality {quality!r}; there are {', '.join(QUALITIES)}"])
    chosen = {name: values[name] for name in ("erase", "steps", "steps_per_concept", "method") if name in values}
    try:
        updates = config_from_dict({**chosen, "erase": values.get("erase") or ["x"]}).updates
    except ConfigError:
        return dict(values)  # told with all other problems when the whole config is made
    factor = _UPDATES[quality]
    return dict(values) if factor == 1.0 else {**values, "steps": max(1, round(updates * factor))}


def _read(path: Path) -> Preset:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        description, chosen = values["description"], values["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError([f"the preset {path.name} cannot be read: {error!r}"]) from error
    if not isinstance(description, str) or not isinstance(chosen, dict):
        raise ConfigError([f"the preset {path.name} needs a description (text) and settings (an object)"])
    return Preset(path.stem, description, chosen)


def _name_problems(name: str) -> list[str]:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        return [f"{name!r} cannot name a preset: use up to 60 letters, digits, spaces and -_.()+"]
    if name.casefold() in {path.stem.casefold() for path in BUNDLED.glob("*.json")}:
        return [f"{name!r} is a bundled preset; choose another name"]
    return []


def _settings_problems(chosen: Mapping[str, Any]) -> list[str]:
    if not isinstance(chosen, Mapping):
        return ["the settings of a preset are an object: setting -> value"]
    try:
        # What is to be erased may be left open in a preset, and nothing else may be wrong.
        config_from_dict({**chosen, "erase": chosen.get("erase") or ["x"]})
    except ConfigError as error:
        return list(error.problems)
    return []
