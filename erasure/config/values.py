"""A config from JSON-like values, wherever they come from: flags, files, forms, the API, other people's LoRAs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from erasure.config.settings import EraseConfig, settings
from erasure.errors import ConfigError

_KIND_NAMES = {tuple: "a text or a list of texts", bool: "true or false", int: "a whole number",
               float: "a number", str: "a text"}  # fmt: skip


def config_from_dict(values: Mapping[str, Any]) -> EraseConfig:
    """A config from JSON-like values. Unknown keys and values of the wrong kind are problems, reported together.

    Raises: ConfigError.
    """
    known = settings()
    problems = []
    accepted: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"there is no setting {str(name)!r}{hint}")
            continue
        try:
            accepted[name] = _converted(value, known[name]["type"])
        except (TypeError, ValueError):
            problems.append(f"{name}: {value!r} is not {_KIND_NAMES[known[name]['type']]}")
    if problems:
        # The remaining values are checked as well, so that one look shows all that is wrong.
        try:
            EraseConfig(**accepted)
        except ConfigError as error:
            problems.extend(error.problems)
        raise ConfigError(problems)
    return EraseConfig(**accepted)


def config_from_file(path: Path) -> dict[str, Any]:
    """The values of a JSON config file, not yet checked (flags may still override them).

    Raises: ConfigError if the file cannot be read or is no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError([f"the config file {path} cannot be read: {error}"]) from error
    if not isinstance(values, dict):
        raise ConfigError([f"the config file {path} holds a {type(values).__name__}; a JSON object is needed"])
    return values


def _converted(value: Any, kind: type) -> Any:
    if kind is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            raise TypeError
        return tuple(items)
    if kind is bool or kind is str:
        if not isinstance(value, kind):
            raise TypeError
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if kind is int and value != int(value):
        raise ValueError
    return kind(value)
