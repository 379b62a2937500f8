"""Settling: from the settings that were asked for to those that are used, by a pure function, so that both are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erasure.config.checks import NO_CONCEPT, setting_problems
from erasure.config.concept_texts import as_written, read_lists
from erasure.config.methods import method_of
from erasure.config.settings import EraseConfig, plain, settings
from erasure.errors import ConfigError


@dataclass(frozen=True)
class Settled:
    """The result of settling.

    ``values``: every setting with the value that is used; ``problems``: why they cannot be used, one line each;
    ``notes``: what was asked for but has no effect, or is taken differently from how it is written, one line each;
    ``config``: the same values as a config, None if there are problems.
    """

    values: Mapping[str, Any]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    config: EraseConfig | None


def settle(asked: Mapping[str, Any]) -> Settled:
    """Fill in the settings that were not asked for: from the method where it decides them, else with defaults.

    ``asked``: setting -> value of the setting's own type; lists will do for tuples. It is not changed. Concepts are as
    people write them, see :mod:`erasure.config.concept_texts`.
    """
    values, notes = used_values(asked)
    problems = said_once([*read_lists(asked).problems, *setting_problems(settings().values(), values)])
    config = None if problems else EraseConfig(**values, asked=plain(asked))
    return Settled(values, tuple(problems), notes, config)


def said_once(problems: Sequence[str]) -> list[str]:
    """Return the problems, but not that there is no concept where another one says what is wrong with those given."""
    wrong = any(problem.startswith("erase: ") and problem != NO_CONCEPT for problem in problems)
    return [problem for problem in problems if not (wrong and problem == NO_CONCEPT)]


def used_values(asked: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return every setting with the value that is used, unchecked, and a note for each one asked for in vain.

    There is a note as well for concepts that are taken differently from how they are written.
    """
    read = read_lists(asked)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in read.values.items()}
    values = {**{name: about.default for name, about in settings().items()}, **given}
    notes = list(read.notes)
    method = method_of(values)
    if method is not None:
        values |= {name: allowed[0] for name, allowed in method.decides.items() if name not in given}
        values["learning_rate"] = values["learning_rate"] or method.learning_rate
        values["rank"] = values["rank"] or method.rank(len(values["erase"]))
        for name, unused in method.unused.items():
            if given.get(name, unused.value) != unused.value:
                notes.append(f"{name}: {given[name]!r} was asked for; method {values['method']} {unused.why}")
            values[name] = unused.value
    # In its range whatever the rank is: a rank that cannot be is one problem, not two.
    values["alpha"] = values["alpha"] or float(min(max(values["rank"], 1), settings()["alpha"].high or 1))
    return values, tuple(notes)


def with_changes(config: EraseConfig, **changes: Any) -> EraseConfig:
    """Return the config for what was asked for with changes, settled again: another method decides other values.

    Raises: ConfigError if the changes cannot be used.
    """
    settled = settle({**asked_of(config), **changes})
    if settled.config is None:
        raise ConfigError(settled.problems)
    return settled.config


def asked_of(config: EraseConfig) -> dict[str, Any]:
    """Return what was asked for as plain JSON types; if that is not known, the least that gives this config."""
    return asked_for(config.to_dict()) if config.asked is None else dict(config.asked)


def asked_for(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the least that must have been asked for to get ``values``: what is neither the method's nor a default.

    ``values``: settings as used, plain JSON types, from a record that does not say what was asked for.
    """
    values = as_written(values)
    defaults = plain({name: about.default for name, about in settings().items()})
    method = method_of({**defaults, **values})
    forced = dict(defaults)
    if method is not None:
        forced |= {name: allowed[0] for name, allowed in method.decides.items()}
        forced |= plain({name: unused.value for name, unused in method.unused.items()})
        forced["learning_rate"] = method.learning_rate
        forced["rank"] = method.rank(len(values.get("erase", ())))
    forced["alpha"] = float(values.get("rank", forced["rank"]))
    return {name: value for name, value in values.items() if name not in forced or value != forced[name]}


def notes_of(config: EraseConfig) -> tuple[str, ...]:
    """Return what was asked for but has no effect, or is taken differently from how it is written, one line each."""
    return used_values(asked_of(config))[1]


def decided(config: EraseConfig) -> dict[str, Any]:
    """Return the settings that settling changed: neither what was asked for nor, if nothing was, the default."""
    defaults = plain({name: about.default for name, about in settings().items()})
    asked = {**defaults, **plain(read_lists(asked_of(config)).values)}
    return {name: value for name, value in config.to_dict().items() if value != asked[name]}
