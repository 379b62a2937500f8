"""What is asked for and what comes of it: both are kept, and neither changes the other."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_args

import pytest

from erasure.config.methods import METHODS, Method
from erasure.config.presets import presets
from erasure.config.settings import EraseConfig, settings
from erasure.config.settle import asked_for, asked_of, decided, notes_of, settle, with_changes
from erasure.config.values import config_from_dict, config_from_record, erase_config
from erasure.errors import ConfigError

EVERY_WAY = [
    {"erase": ["church"]},
    {"erase": ["church"], "layers": "xattn", "learning_rate": 0, "templates": ["{}", "a {}"]},
    *({"erase": ["church"], "method": method} for method in METHODS),
    {"erase": ["church"], "method": "uce", "adversary": "whole", "steps": 500, "synonym_threshold": 0.3},
    *({"erase": ["church"], **preset.settings} for preset in presets().values()),
]


@pytest.mark.parametrize("asked", EVERY_WAY, ids=json.dumps)
def test_settling_keeps_what_was_asked_for_and_gives_every_setting(asked: dict[str, Any]) -> None:
    before = json.dumps(asked)
    settled = settle(asked)
    assert json.dumps(asked) == before
    assert settled.problems == ()
    assert settled.config is not None
    assert settled.config.asked == asked
    assert settled.values == {name: getattr(settled.config, name) for name in settings()}
    assert settled.config.learning_rate > 0


@pytest.mark.parametrize("asked", EVERY_WAY, ids=json.dumps)
def test_a_settled_config_is_settled(asked: dict[str, Any]) -> None:
    config = erase_config(**asked)
    assert config_from_dict(config.to_dict()) == config
    assert notes_of(config_from_dict(config.to_dict())) == ()


@pytest.mark.parametrize("asked", EVERY_WAY, ids=json.dumps)
def test_a_record_gives_the_config_and_what_was_asked_for_back(asked: dict[str, Any]) -> None:
    config = erase_config(**asked)
    record = json.loads(json.dumps({"config": config.to_dict(), "asked": asked_of(config)}))
    again = config_from_record(record["config"], record["asked"])
    assert (again, again.asked) == (config, config.asked)


@pytest.mark.parametrize("asked", EVERY_WAY, ids=json.dumps)
def test_of_an_old_record_that_was_asked_for_which_is_neither_the_methods_nor_a_default(asked: dict[str, Any]) -> None:
    config = erase_config(**asked)
    guessed = asked_for(config.to_dict())
    assert config_from_dict(guessed) == config
    assert config_from_record(config.to_dict(), None).asked == guessed
    assert all(guessed[name] == asked[name] for name in guessed), "nothing that nobody asked for"


def test_an_old_record_gives_a_config_that_another_method_can_take_over() -> None:
    old = config_from_record(erase_config(erase=["church"], method="uce", rank=4).to_dict(), None)
    assert with_changes(old, method="adversarial") == erase_config(erase=["church"], rank=4)


def test_a_setting_that_a_method_decides_is_refused_even_where_it_is_the_default() -> None:
    default = settings()["layers"].default
    assert settle({"erase": ["a"], "method": "esd-u", "layers": default}).problems == (
        f"layers: {default!r} does not go with method esd-u, which needs 'noxattn'",
    )
    assert erase_config(erase=["a"], method="esd-u").layers == "noxattn"


def test_a_setting_that_a_method_has_no_use_for_is_noted_and_kept() -> None:
    config = erase_config(erase=["a"], method="uce", steps=500)
    assert (config.steps, config.updates) == (1, 1)
    assert notes_of(config) == ("steps: 500 was asked for; method uce works in one step",)
    assert with_changes(config, method="adversarial").updates == 500
    assert notes_of(erase_config(erase=["a"], method="uce", steps=1)) == ()


def test_another_method_decides_anew() -> None:
    config = with_changes(erase_config(erase=["a"]), method="esd-u")
    assert (config.layers, config.adversary, config.learning_rate) == ("noxattn", "none", 1e-3)
    back = with_changes(config, method="adversarial")
    assert back == erase_config(erase=["a"])
    assert with_changes(config, learning_rate=0.01).asked == {"erase": ["a"], "method": "esd-u", "learning_rate": 0.01}
    with pytest.raises(ConfigError, match="noxattn"):
        with_changes(config, layers="full")


@pytest.mark.parametrize("method", get_args(Method))
def test_what_the_method_decided_can_be_told(method: str) -> None:
    config = erase_config(erase=["a"], method=method)
    about = METHODS[config.method]
    told = decided(config)
    other = {name for name, unused in about.unused.items() if unused.value != settings()[name].default}
    assert other | {"learning_rate"} <= set(told)
    assert {name: told[name] for name in told if name in about.decides} == {
        name: allowed[0] for name, allowed in about.decides.items() if allowed[0] != settings()[name].default
    }
    assert decided(config_from_dict(config.to_dict())) == {}


def test_a_config_never_changes_a_field_of_its_own() -> None:
    values = erase_config(erase=["a"], method="esd-u").to_dict()
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    config = EraseConfig(**values)
    assert all(getattr(config, name) == value for name, value in values.items())
    for name, value in (("layers", "xattn"), ("erase_synonyms", True), ("learning_rate", 0.0), ("rank", 0)):
        with pytest.raises(ConfigError, match=name):
            EraseConfig(**{**values, name: value})
    assert with_changes(config, rank=4).rank == 4
    assert with_changes(config, method="adversarial").layers == settings()["layers"].default, (
        "though nobody said what was asked for"
    )


def test_what_was_asked_for_is_no_part_of_what_a_config_is() -> None:
    one, other = erase_config(erase=["a"]), erase_config(erase=["a"], rank=16)
    assert one.asked != other.asked
    assert (one, hash(one)) == (other, hash(other))
    assert "asked" not in one.to_dict()
    assert "asked" not in settings()
    assert "asked" in {field.name for field in dataclasses.fields(one)}
