"""Makes a config of JSON-like values from flags, files, forms, the API or records of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from erasure import bounded_json
from erasure.config.concept_texts import LISTS, as_written, read_lists
from erasure.config.settings import EraseConfig, plain, settings
from erasure.config.settle import Settled, asked_for, said_once, settle, used_values
from erasure.errors import ConfigError, shown

_KIND_NAMES = {tuple: "a text or a list of texts", bool: "true or false", int: "a whole number",
               float: "a number", str: "a text"}  # fmt: skip
_LISTED, _LONGEST_NAME = 20, 60  # unknown settings, and characters of one
_LARGEST = 2**63


def settle_values(asked: Mapping[str, Any]) -> Settled:
    """Settle JSON-like values from outside: like :func:`erasure.config.settle.settle`, but with type checks.

    Unknown names and values of the wrong type become problems, listed before all others.
    """
    accepted, problems = _converted_values(asked)
    settled = settle(accepted)
    return (
        replace(settled, problems=tuple(said_once([*problems, *settled.problems])), config=None)
        if problems
        else settled
    )


def config_from_dict(asked: Mapping[str, Any]) -> EraseConfig:
    """Return the settled config for JSON-like values. Raises: ConfigError with all problems."""
    settled = settle_values(asked)
    if settled.config is None:
        raise ConfigError(settled.problems)
    return settled.config


def erase_config(**asked: Any) -> EraseConfig:
    """Return a config in Python: ``erase_config(erase=["church"], rank=4)``. Raises: ConfigError with all problems."""
    return config_from_dict(asked)


# Settings that older versions did not have, with the values that do what these versions did.
BEFORE: Mapping[str, Any] = {
    "look_every": 0, "judged_words": 0, "start": "zero", "null_space": 0.0, "pace": 0.0, "rehearsed": 0,
    "early": 1.0, "robust": "off",
}  # fmt: skip


def config_from_record(values: Mapping[str, Any], asked: Mapping[str, Any] | None) -> EraseConfig:
    """Return the config of an earlier run, exactly as it was used.

    ``values`` and ``asked`` are what its record keeps: the settings as used, and those that were asked for. In records
    of older versions settings may be missing and ``asked`` is None. Raises: ConfigError with all problems.
    """
    used, problems = _converted_values(values)
    used = {**BEFORE, **used}
    wanted, wrong = _converted_values(asked_for(plain(used)) if asked is None else asked)
    if problems or wrong:
        raise ConfigError([*problems, *wrong])
    wanted = {**{name: value for name, value in BEFORE.items() if name not in values}, **wanted}
    wanted = asked_like(wanted, used)
    return EraseConfig(**{**used_values(wanted)[0], **used}, asked=plain(wanted))


def asked_like(asked: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked for so that it is read as what was used.

    Versions up to 0.2.0 took every text for one concept, commas included.
    """
    read = plain(read_lists(asked).values)
    changed = {name: value for name, value in plain(used).items() if name in LISTS and read.get(name, value) != value}
    return {**asked, **as_written(changed)}


def _converted_values(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the valid settings in their own types, and one problem for each of the others."""
    known = settings()
    accepted: dict[str, Any] = {}
    problems = []
    unknown = [str(name)[:_LONGEST_NAME] for name in values if name not in known]
    for name in unknown[:_LISTED]:
        close = get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        problems.append(f"there is no setting {name!r}{hint}")
    if len(unknown) > _LISTED:
        problems.append(f"there are {len(unknown) - _LISTED} more settings that do not exist")
    for name, value in values.items():
        if name not in known:
            continue
        try:
            accepted[name] = _converted(value, known[name].type)
        except UnicodeError:
            problems.append(f"{name}: {shown(value)} has a character that is none (NUL, or half of a surrogate pair)")
        except (TypeError, ValueError, OverflowError):
            problems.append(f"{name}: {shown(value)} is not {_KIND_NAMES[known[name].type]}")
    return accepted, problems


def config_from_file(path: Path) -> dict[str, Any]:
    """Return the values in a JSON config file, unchecked, as flags may still override them.

    Of the ``run.json`` of a run folder, they are the settings that were asked for.

    Raises: ConfigError if the file cannot be read or is not a JSON object.
    """
    try:
        values = bounded_json.read(path)
    except (OSError, ValueError) as error:
        raise ConfigError([f"the config file {path} cannot be read: {error}"]) from error
    if not isinstance(values, dict):
        raise ConfigError([f"the config file {path} holds a {type(values).__name__}, but must hold a JSON object"])
    asked = values.get("asked")
    return asked if isinstance(asked, dict) and "config" in values else values


def _converted(value: Any, kind: type) -> Any:
    if kind is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            raise TypeError
        return tuple(map(_text, items))
    if kind is bool or kind is str:
        if not isinstance(value, kind):
            raise TypeError
        return _text(value) if isinstance(value, str) else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if kind is int and (value != int(value) or abs(value) >= _LARGEST):
        raise ValueError
    return kind(value)


def _text(text: str) -> str:
    """Return the text. Raises: UnicodeError if no file, no path and no answer could hold it."""
    if "\0" in text:
        raise UnicodeError
    text.encode("utf-8")
    return text
