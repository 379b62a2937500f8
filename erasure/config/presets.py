"""Presets, named settings to start from: bundled ones beside this file, and the user's own in another folder.

A preset is a JSON file ``{"description": ..., "settings": {...}}``; its name is the file's stem. A bundled one may name
the preset that was measured as its quick quality: ``"quick": ...``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from erasure import bounded_json
from erasure.config.checks import NO_CONCEPT
from erasure.config.methods import method_of
from erasure.config.values import settle_values
from erasure.errors import ConfigError, OutputExists, RunError, shown
from erasure.whole_file import write_text

BUNDLED = Path(__file__).parent / "bundled"
# Presets for kinds of concepts, in the order in which they are offered.
KINDS = ("object", "style", "person", "nudity")

Quality = Literal["quick", "normal", "thorough"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
THOROUGH = 2  # times as many updates

# A file name may have 255 bytes on most file systems, and ".json.0123ab.part" is added.
_MOST_BYTES = 200
_NAME = re.compile(r"\w(?:[\w .()+-]{0,58}[\w)+-])?")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Preset:
    """Named settings. ``quick``: the name of the preset that is its quick quality, "" if there is none."""

    name: str
    description: str
    settings: dict[str, Any]
    quick: str = ""

    @property
    def qualities(self) -> tuple[Quality, ...]:
        """The qualities it is available in: quick only if it names a preset for that."""
        return QUALITIES if self.quick else QUALITIES[1:]


def presets(*folders: Path) -> dict[str, Preset]:
    """Return all presets by name: the bundled ones, then those in ``folders``; of two with the same name, the first.

    The user's files that are not valid presets are skipped; :func:`preset` says what is wrong with one of them.
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
    """Return the preset of that name. Raises: ConfigError if there is none, or if its file is not a valid preset."""
    known = presets(*folders)
    if name in known:
        return known[name]
    if _NAME.fullmatch(name):
        for folder in folders:
            if (folder / f"{name}.json").is_file():
                return _read(folder / f"{name}.json")
    raise ConfigError([f"there is no preset {shown(name)}; choose one of {', '.join(known)}"])


def save_preset(
    folder: Path, name: str, description: str, settings: Mapping[str, Any], *, overwrite: bool = False
) -> Preset:
    """Write ``settings`` (some or all of a config's) as the user's preset ``name`` into ``folder``.

    Raises: ConfigError with every problem of name and settings; OutputExists if the preset exists and ``overwrite`` is
    off; RunError if the folder cannot be written to.
    """
    problems = [*_name_problems(name), *_settings_problems(settings)]
    if not isinstance(description, str) or len(description) > 300 or not description.isprintable():
        problems.append("the description of a preset must be one line of at most 300 characters")
    if problems:
        raise ConfigError(problems)
    if not overwrite and name.casefold() in {path.stem.casefold() for path in folder.glob("*.json")}:
        raise OutputExists(f"a preset {name!r} already exists; choose another name, or ask to overwrite it")
    text = json.dumps({"description": description, "settings": dict(settings)}, ensure_ascii=False, indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.json", text + "\n")
    except OSError as error:
        raise RunError(
            f"the preset {name!r} cannot be written: {error.strerror}; free disk space or check permissions"
        ) from error
    return Preset(name, description, dict(settings))


def delete_preset(folder: Path, name: str) -> None:
    """Delete one of the user's presets.

    Raises: ConfigError if it is bundled or does not exist; RunError if it cannot be deleted.
    """
    if (BUNDLED / f"{name}.json").is_file() and _NAME.fullmatch(name):
        raise ConfigError([f"the preset {name!r} is bundled and cannot be deleted"])
    path = folder / f"{name}.json"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise ConfigError([f"there is no preset {name!r} among your own; check the name"])
    try:
        path.unlink()
    except OSError as error:
        raise RunError(f"the preset {name!r} cannot be deleted: {error.strerror}; check permissions") from error


def kind_settings(kind: Preset, quality: str, method: str | None = None) -> dict[str, Any]:
    """Return the settings of a preset at a quality. ``method``: the one that will be used, if not the preset's own.

    Quick: those of the quick preset that it names. Normal: its own. Thorough: its own with twice as many updates,
    unless the method works in one step. Raises: ConfigError if the preset does not have that quality.
    """
    if quality not in kind.qualities:
        of = f"of preset {kind.name!r}" if kind.name else "without a preset"
        raise ConfigError([f"there is no quality {shown(quality)} {of}; choose one of {', '.join(kind.qualities)}"])
    if quality == "quick":
        return dict(preset(kind.quick).settings)
    if quality == "normal":
        return dict(kind.settings)
    used = settle_values({**kind.settings, **({} if method is None else {"method": method})}).values
    about = method_of(used)
    if about is None or "steps" in about.unused:
        return dict(kind.settings)
    if used["steps"]:
        return {**kind.settings, "steps": THOROUGH * used["steps"]}
    each = used["steps_per_concept"] or about.updates_per_concept
    return {**kind.settings, "steps_per_concept": THOROUGH * each}


def _read(path: Path) -> Preset:
    try:
        values = bounded_json.read(path)
        description, chosen = values["description"], values["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError([f"the preset {path.name} cannot be read: {error!r}"]) from error
    if not isinstance(description, str) or not isinstance(chosen, dict):
        raise ConfigError([f"the preset {path.name} must have a description (text) and settings (an object)"])
    # Only bundled presets were measured; a copy that the user changed was not.
    quick = str(values.get("quick", "")) if path.parent == BUNDLED else ""
    return Preset(path.stem, description, chosen, quick)


def _name_problems(name: str) -> list[str]:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        return [f"{shown(name)} cannot name a preset: use up to 60 letters, digits, spaces and -_.()+"]
    if len(name.encode("utf-8")) > _MOST_BYTES:
        return [f"{name!r} is too long for a file name; choose a shorter one"]
    if name.casefold() in {path.stem.casefold() for path in BUNDLED.glob("*.json")}:
        return [f"{name!r} is a bundled preset; choose another name"]
    return []


def _settings_problems(chosen: Mapping[str, Any]) -> list[str]:
    if not isinstance(chosen, Mapping):
        return ["the settings of a preset must be an object: setting -> value"]
    return [problem for problem in settle_values(chosen).problems if problem != NO_CONCEPT]
