"""The form holds every setting of a config exactly once, and says the same as the config does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from erasure.config.concept_texts import as_written
from erasure.config.presets import presets, save_preset
from erasure.config.settings import settings
from erasure.config.values import config_from_dict, erase_config
from erasure.errors import ConfigError
from erasure.ui.controls import kind_choices
from erasure.ui.form import MAIN, PROTECT, advanced, controls, read_form, show_settings

CONCEPTS: dict[str, Any] = {"erase": ["church", "garbage truck"]}


def test_every_setting_has_one_control_with_a_place() -> None:
    under_advanced = [control.name for group in advanced().values() for control in group]
    assert sorted([*MAIN, *PROTECT, *under_advanced]) == sorted(settings())


def test_controls_are_in_the_group_of_their_setting_and_say_its_help_choices_and_usual_range() -> None:
    known = settings()
    for group, members in advanced().items():
        for control in members:
            about = known[control.name]
            assert about.group == group
            assert about.help[1:] in control.info
            assert about.usual in control.info
            assert control.choices == tuple(about.choices or ())


def test_labels_are_unique() -> None:
    labels = [control.label.casefold() for control in controls().values()]
    assert len(labels) == len(set(labels))


def test_floats_are_written_in_text_boxes() -> None:
    for name, about in settings().items():
        if about.type is float:
            assert controls()[name].kind == "decimal"
            assert isinstance(controls()[name].default, str)


def test_an_untouched_form_reads_as_the_defaults() -> None:
    held = {name: control.default for name, control in controls().items()}
    read = config_from_dict({**read_form(held), **CONCEPTS})
    assert read == erase_config(erase=("church", "garbage truck"))


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_comes_back_from_the_form_as_it_went_in(name: str) -> None:
    config = config_from_dict({**CONCEPTS, **presets()[name].settings})
    assert config_from_dict(read_form(show_settings(as_written(config.to_dict())))) == config


def test_a_config_of_odd_values_comes_back_as_it_went_in() -> None:
    config = erase_config(
        erase=('"a church, at night"', "bell"),
        anchor=("", '"sky, blue"'),
        preserve=('"one, two"',),
        synonym=("kirk",),
        templates=("{}", "a photo of {}, detailed"),
        learning_rate=1.2345678901e-7,
        search_rate=0.0123,
        seed=2**32 - 1,
    )
    assert config_from_dict(read_form(show_settings(as_written(config.to_dict())))) == config


def test_a_setting_of_lines_may_be_one_text() -> None:
    assert show_settings({"templates": "a photo of {}"})["templates"] == "a photo of {}"


def test_a_preset_that_is_called_like_a_kind_takes_not_its_place(tmp_path: Path) -> None:
    save_preset(tmp_path, "Art style", "", {"rank": 3})
    every = kind_choices(tmp_path)
    assert every["Art style"].name == "style"
    assert every["Art style (yours)"].settings == {"rank": 3}


def test_what_is_no_number_is_refused_by_name() -> None:
    held = {name: control.default for name, control in controls().items()}
    held.update(erase="church", learning_rate="fast", rank=None)
    with pytest.raises(ConfigError) as refused:
        config_from_dict(read_form(held))
    assert [problem.split(":")[0] for problem in refused.value.problems] == ["learning_rate", "rank"]


def test_settings_of_another_version_leave_their_controls_at_the_default() -> None:
    shown = show_settings({"templates": 7, "learning_rate": "x", "no_such_setting": 1})
    assert shown == {name: control.default for name, control in controls().items()}


def test_boxes_are_read_like_every_other_way_in() -> None:
    held = {name: control.default for name, control in controls().items()}
    held.update(erase="church, truck", preserve=" \n", anchor="building, ", templates="{}\n\na photo of {}, sharp\n")
    read = read_form(held)
    assert "preserve" not in read
    config = config_from_dict(read)
    assert (config.erase, config.anchor) == (("church", "truck"), ("building", ""))
    assert config.templates == ("{}", "a photo of {}, sharp")
