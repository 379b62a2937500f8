"""Presets: named starting points for a config, bundled as JSON beside this file's folder ``presets``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.errors import ConfigError

BUNDLED = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Preset:
    name: str
    description: str
    settings: dict[str, Any]


def presets(folder: Path = BUNDLED) -> dict[str, Preset]:
    """All presets of a folder by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = Preset(path.stem, values["description"], values["settings"])
    return found


def preset(name: str, folder: Path = BUNDLED) -> Preset:
    """Raises: ConfigError for a name that is not there."""
    known = presets(folder)
    if name not in known:
        raise ConfigError([f"there is no preset {name!r}; there are {', '.join(known)}"])
    return known[name]
