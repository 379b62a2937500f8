"""Presets, named starting points for a config: bundled ones beside this file, and the user's own in a folder of theirs.

A preset is a JSON file ``{"description": ..., "settings": {...}}``; its name is the file's stem. A bundled one may name
another as the measured quick way to the same end: ``"quick": ...``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from erasure.config.checks import NO_CONCEPT
from erasure.config.methods import method_of
from erasure.config.values import settle_values
from erasure.errors import ConfigError, OutputExists, RunError
from erasure.whole_file import write_text

BUNDLED = Path(__file__).parent / "bundled"
# Presets that say how a kind of concept is erased, in the order in which they are offered.
KINDS = ("object", "style", "person", "nudity")

Quality = Literal["quick", "normal", "thorough"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
THOROUGH = 2  # times the updates

_NAME = re.compile(r"\w(?:[\w .()+-]{0,58}[\w)+-])?")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Preset:
    """``quick``: the name of the preset that is its quick quality; "": it has none."""

    name: str
    description: str
    settings: dict[str, Any]
    quick: str = ""

    @property
    def qualities(self) -> tuple[Quality, ...]:
        """Those that there are: quick only where a preset was measured for it."""
        return QUALITIES if self.quick else QUALITIES[1:]


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
        raise RunError(
            f"the preset {name!r} cannot be written: {error.strerror}; free up disk space or check permissions"
        ) from error
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


def kind_settings(kind: Preset, quality: str, method: str | None = None) -> dict[str, Any]:
    """The settings of a preset at a quality; ``method``, if it is not to be the preset's own.

    Quick: those of the quick preset that it names. Normal: its own. Thorough: its own with twice the updates, unless
    its method works in one step. Raises: ConfigError for a quality that the preset does not have.
    """
    if quality not in kind.qualities:
        of = f"of preset {kind.name!r}" if kind.name else "without a preset"
        raise ConfigError([f"there is no quality {quality!r} {of}; there are {', '.join(kind.qualities)}"])
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
        values = json.loads(path.read_text(encoding="utf-8"))
        description, chosen = values["description"], values["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError([f"the preset {path.name} cannot be read: {error!r}"]) from error
    if not isinstance(description, str) or not isinstance(chosen, dict):
        raise ConfigError([f"the preset {path.name} needs a description (text) and settings (an object)"])
    # What was measured for a bundled preset says nothing of the user's own.
    quick = str(values.get("quick", "")) if path.parent == BUNDLED else ""
    return Preset(path.stem, description, chosen, quick)


def _name_problems(name: str) -> list[str]:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        return [f"{name!r} cannot name a preset: use up to 60 letters, digits, spaces and -_.()+"]
    if name.casefold() in {path.stem.casefold() for path in BUNDLED.glob("*.json")}:
        return [f"{name!r} is a bundled preset; choose another name"]
    return []


def _settings_problems(chosen: Mapping[str, Any]) -> list[str]:
    if not isinstance(chosen, Mapping):
        return ["the settings of a preset are an object: setting -> value"]
    return [problem for problem in settle_values(chosen).problems if problem != NO_CONCEPT]
