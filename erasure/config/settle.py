"""From what was asked for to what is done: a pure function, so that both can be kept and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from erasure.config.checks import setting_problems
from erasure.config.methods import method_of
from erasure.config.settings import EraseConfig, plain, settings
from erasure.errors import ConfigError


@dataclass(frozen=True)
class Settled:
    """``values``: every setting with the value that is used; ``problems``: why they cannot be; ``notes``: what was
    asked for and has no effect; ``config``: the same values as a config, None if there are problems."""

    values: Mapping[str, Any]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    config: EraseConfig | None


def settle(asked: Mapping[str, Any]) -> Settled:
    """What is used where these settings are asked for: the method's values, then the defaults, for all others.

    ``asked``: setting -> value of the setting's own type, lists being as good as tuples. It is not changed.
    """
    values, notes = used_values(asked)
    problems = setting_problems(settings().values(), values)
    config = None if problems else EraseConfig(**values, asked=plain(asked))
    return Settled(values, tuple(problems), notes, config)


def used_values(asked: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Every setting with the value that is used, not checked yet; and a note for each that was asked for in vain."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in asked.items()}
    values = {**{name: about.default for name, about in settings().items()}, **given}
    notes: list[str] = []
    method = method_of(values)
    if method is not None:
        values |= {name: allowed[0] for name, allowed in method.decides.items() if name not in given}
        values["learning_rate"] = values["learning_rate"] or method.learning_rate
        for name, unused in method.unused.items():
            if given.get(name, unused.value) != unused.value:
                notes.append(f"{name}: {given[name]!r} was asked for; method {values['method']} {unused.why}")
            values[name] = unused.value
    return values, tuple(notes)


def with_changes(config: EraseConfig, **changes: Any) -> EraseConfig:
    """What was asked for with these changes, settled anew: another method decides its own. Raises: ConfigError."""
    settled = settle({**asked_of(config), **changes})
    if settled.config is None:
        raise ConfigError(settled.problems)
    return settled.config


def asked_of(config: EraseConfig) -> dict[str, Any]:
    """What was asked for, as plain JSON types; of a config that does not know, what it must have been at least."""
    return asked_for(config.to_dict()) if config.asked is None else dict(config.asked)


def asked_for(values: Mapping[str, Any]) -> dict[str, Any]:
    """What must have been asked for at least to get these settings: those that are neither the method's nor defaults.

    ``values`` are settings as used, plain JSON types, from a record that does not say what was asked for.
    """
    defaults = plain({name: about.default for name, about in settings().items()})
    method = method_of({**defaults, **values})
    forced = dict(defaults)
    if method is not None:
        forced |= {name: allowed[0] for name, allowed in method.decides.items()}
        forced |= {name: unused.value for name, unused in method.unused.items()}
        forced["learning_rate"] = method.learning_rate
    return {name: value for name, value in values.items() if name not in forced or value != forced[name]}


def notes_of(config: EraseConfig) -> tuple[str, ...]:
    """What was asked for and has no effect, a line each."""
    return used_values(asked_of(config))[1]


def decided(config: EraseConfig) -> dict[str, Any]:
    """The settings that are neither what was asked for nor, where nothing was, the defaults: plain JSON types."""
    defaults = plain({name: about.default for name, about in settings().items()})
    asked = {**defaults, **asked_of(config)}
    return {name: value for name, value in config.to_dict().items() if value != asked[name]}
