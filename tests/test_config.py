from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from erasure.config.presets import preset, presets
from erasure.config.setting import GROUPS
from erasure.config.settings import EraseConfig, settings
from erasure.config.values import config_from_dict, config_from_file, erase_config
from erasure.errors import ConfigError
from tools.options_table import README, with_table


def test_a_learning_rate_that_is_left_open_is_what_the_method_needs() -> None:
    ours, theirs = erase_config(erase=("a",)), erase_config(erase=("a",), method="esd-x")
    assert ours.learning_rate > theirs.learning_rate > 0
    assert (
        erase_config(erase=("a",), method="esd-x", learning_rate=ours.learning_rate).learning_rate == ours.learning_rate
    )
    assert config_from_dict(theirs.to_dict()) == theirs


def test_updates_per_concept_can_be_chosen() -> None:
    assert erase_config(erase=("a", "b", "c"), steps_per_concept=30).updates == 90
    assert erase_config(erase=("a",), steps_per_concept=30).updates == 60
    assert erase_config(erase=("a",), steps_per_concept=30, steps=7).updates == 7
    assert erase_config(erase=("a", "b", "c")).updates == 450
    assert erase_config(erase=("a", "b", "c"), method="esd-x").updates == 300


@pytest.mark.parametrize(("erase", "steps", "updates"), [("a", 0, 300), ("abcde", 0, 750), ("abcde", 7, 7)])
def test_more_concepts_get_more_updates_unless_their_number_is_given(erase: str, steps: int, updates: int) -> None:
    assert erase_config(erase=tuple(erase), steps=steps).updates == updates


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "name at least one concept"),
        ({"erase": ["a", "A "]}, "'a' is named twice"),
        ({"erase": ["fire engine", '"fire  engine"']}, "'fire engine' is named twice"),
        ({"erase": ["caf\xe9", "cafe\u0301"]}, "'caf\xe9' is named twice"),
        ({"erase": ["church"], "synonym": ["chapel"], "anchor": ["Chapel"]}, "'Chapel' is a synonym"),
        ({"erase": ["a", "b", "c"], "anchor": ["x", "y"]}, "2 anchors for 3 concepts"),
        ({"erase": ["a"], "anchor": ["A"]}, "is the concept itself"),
        ({"erase": ["a"], "preserve": ["A"]}, "cannot be both"),
        ({"erase": ["a"], "synonym": ["b"], "preserve": ["b"]}, "cannot be both"),
        ({"erase": ["a"], "templates": ["a picture"]}, "exactly one {}"),
        ({"erase": ["a"], "rank": -1}, "outside 0 to 512"),
        ({"erase": ["a"], "rank": 1.5}, "not a whole number"),
        ({"erase": ["a"], "rank": True}, "not a whole number"),
        ({"erase": ["a"], "learning_rate": float("nan")}, "not a finite number"),
        ({"erase": ["a"], "hard": "yes"}, "not true or false"),
        ({"erase": ["a"], "layers": "all"}, "not one of xattn"),
        ({"erase": ["a"], "resolution": 500}, "multiple of 64"),
        ({"erase": ["a"], "vocabulary": "file"}, "vocabulary_file: needed"),
        ({"erase": ["a"], "search_steps": 0}, "needs at least 1"),
        ({"erase": ["a"], "learning_rte": 1}, "did you mean 'learning_rate'"),
    ],
)
def test_a_config_that_cannot_work_says_why(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_from_dict(values)
    assert problem in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_config_file_may_have_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"erase": ["kościół"]}', encoding=encoding)
    assert config_from_file(file) == {"erase": ["kościół"]}


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        config_from_dict({"nonsense": 1, "clip": -1, "batch": "x", "precision": "int8"})
    assert len(raised.value.problems) == 5


def test_a_config_survives_json() -> None:
    config = erase_config(erase=("a", "b"), anchor=("x", "y"), hard=False, learning_rate=1e-3)
    assert config_from_dict(config.to_dict()) == config


def test_one_anchor_serves_all_targets_and_none_means_nothing() -> None:
    assert erase_config(erase=("a", "b"), anchor=("x",)).anchors == ("x", "x")
    assert erase_config(erase=("a", "b")).anchors == ("", "")


def test_every_setting_is_described() -> None:
    described = settings()
    assert set(described) == {f.name for f in fields(EraseConfig)} - {"asked"}
    for about in described.values():
        assert about.help
        assert about.group in GROUPS


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_are_valid_configs(name: str) -> None:
    assert preset(name).description
    config_from_dict({"erase": ["x"], **preset(name).settings})


def test_the_paper_preset_has_the_papers_settings() -> None:
    config = config_from_dict({"erase": ["x"], **preset("paper").settings})
    assert (config.steps, config.batch, config.neighbours, config.search_steps) == (1000, 1, 100, 2)
    assert (config.search_rate, config.preserve_weight, config.layers) == (1e-3, 1.0, "xattn")
    assert (config.latents, config.sampling_steps, config.sampling_guidance) == ("fresh", 50, 3.0)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="object"):
        preset("objct")


def test_the_readmes_options_are_those_of_the_config() -> None:
    readme = README.read_text(encoding="utf-8")
    assert with_table(readme) == readme
