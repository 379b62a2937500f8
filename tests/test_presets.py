"""The user's own presets, and the three qualities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from erasure.config.presets import (
    BUNDLED,
    KINDS,
    Preset,
    delete_preset,
    kind_settings,
    preset,
    presets,
    save_preset,
)
from erasure.config.template import fill
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, OutputExists, RunError


def test_kinds_are_bundled_presets() -> None:
    assert set(KINDS) <= set(presets())


def test_saved_preset_is_found_beside_the_bundled_ones(tmp_path: Path) -> None:
    save_preset(tmp_path / "new", "My trucks", "Long lines.", {"steps": 30, "anchor": ["car"]})
    assert list(presets(tmp_path / "new"))[-1] == "My trucks"
    assert preset("My trucks", tmp_path / "new").settings == {"steps": 30, "anchor": ["car"]}
    assert preset("object", tmp_path / "new").description == preset("object").description
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["My trucks.json"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../evil", "a/b", "a\\b", " a", "a ", ".hidden", "a\nb", "con", "NUL.x", "a" * 61, "a:b", "x."],
)
def test_names_that_are_no_plain_file_name_are_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    with pytest.raises(ConfigError, match="cannot name a preset"):
        save_preset(folder, name, "", {})
    with pytest.raises(ConfigError, match="there is no preset"):
        preset(name, folder)
    (tmp_path / "evil.json").write_text("{}")
    with pytest.raises(ConfigError, match="there is no preset"):
        delete_preset(folder, name)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.json"]


def test_every_problem_of_a_preset_is_named_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        save_preset(tmp_path, "a/b", "two\nlines", {"stepz": 1, "rank": -1})
    told = "\n".join(caught.value.problems)
    assert all(word in told for word in ("a/b", "one line", "stepz", "rank"))
    assert not list(tmp_path.iterdir())


def test_bundled_presets_cannot_be_shadowed_or_deleted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bundled"):
        save_preset(tmp_path, "Object", "", {})
    (tmp_path / "object.json").write_text(json.dumps({"description": "mine", "settings": {}}))
    assert preset("object", tmp_path).description != "mine"
    with pytest.raises(ConfigError, match="bundled"):
        delete_preset(tmp_path, "object")
    assert (BUNDLED / "object.json").is_file()


def test_a_preset_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    save_preset(tmp_path, "mine", "first", {"rank": 4})
    with pytest.raises(OutputExists, match="already"):
        save_preset(tmp_path, "MINE", "second", {"rank": 5})
    save_preset(tmp_path, "mine", "second", {"rank": 5}, overwrite=True)
    assert preset("mine", tmp_path).settings == {"rank": 5}
    delete_preset(tmp_path, "mine")
    assert "mine" not in presets(tmp_path)
    with pytest.raises(ConfigError, match="no preset"):
        delete_preset(tmp_path, "mine")


def test_a_damaged_preset_hides_no_other_and_is_named_when_asked_for(tmp_path: Path) -> None:
    save_preset(tmp_path, "good", "", {"rank": 4})
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "odd.json").write_text('{"description": 1, "settings": []}')
    assert set(presets(tmp_path)) - set(presets()) == {"good"}
    for name in ("bad", "odd"):
        with pytest.raises(ConfigError, match=rf"{name}\.json"):
            preset(name, tmp_path)


def test_a_preset_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"description": "d", "settings": {"steps": 7}}', encoding="utf-8-sig")
    assert preset("mine", tmp_path).settings == {"steps": 7}


def test_a_folder_in_the_way_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        save_preset(tmp_path / "file" / "presets", "mine", "", {})


@pytest.mark.parametrize(("kind", "quick"), [("object", "quick"), ("style", "quick-style")])
def test_quick_is_the_measured_preset_of_the_kind(kind: str, quick: str) -> None:
    assert kind_settings(preset(kind), "quick") == preset(quick).settings
    assert kind_settings(preset(kind), "normal") == preset(kind).settings


def test_every_quick_preset_that_a_bundled_one_names_is_there() -> None:
    named = {one.quick for one in presets().values() if one.quick}
    assert named
    assert named <= set(presets())


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, {"steps_per_concept": 300}),
        ({"steps_per_concept": 225, "rank": 4}, {"steps_per_concept": 450}),
        ({"steps": 300}, {"steps": 600}),
        ({"method": "esd-x"}, {"steps_per_concept": 200}),
        ({"method": "uce"}, {}),
        ({"method": "speed"}, {}),
    ],
)
def test_thorough_is_twice_the_updates_and_nothing_else(settings: dict[str, object], more: dict[str, object]) -> None:
    kind = Preset("mine", "", settings)
    thorough = kind_settings(kind, "thorough")
    assert thorough == {**settings, **more}
    erased = {"erase": ["a", "b", "c"]}
    factor = 1 if settings.get("method") in ("uce", "speed") else 2
    assert config_from_dict({**erased, **thorough}).updates == factor * config_from_dict({**erased, **settings}).updates


@pytest.mark.parametrize("name", ["person", "nudity", "paper", "mine"])
def test_a_preset_without_a_quick_one_says_which_qualities_there_are(name: str, tmp_path: Path) -> None:
    save_preset(tmp_path, "mine", "", {"rank": 4})
    found = preset(name, tmp_path)
    assert found.qualities == ("normal", "thorough")
    with pytest.raises(ConfigError, match=f"no quality 'quick' of preset '{name}'; choose one of normal, thorough"):
        kind_settings(found, "quick")


def test_an_unknown_quality_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no quality 'best' of preset 'object'; choose one of quick, normal, tho"):
        kind_settings(preset("object"), "best")


def test_a_preset_of_the_users_brings_no_quick_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({"description": "", "quick": "quick", "settings": {}}))
    assert "quick" not in preset("mine", tmp_path).qualities


def test_a_wrong_number_of_updates_is_left_to_the_config() -> None:
    with pytest.raises(ConfigError, match="steps"):
        config_from_dict({"erase": ["x"], **kind_settings(Preset("mine", "", {"steps": "many"}), "thorough")})


def test_a_preset_may_leave_open_what_is_erased(tmp_path: Path) -> None:
    save_preset(tmp_path, "mine", "", {"anchor": ["sky", "sea"], "method": "esd-u"})
    with pytest.raises(ConfigError) as refused:
        save_preset(tmp_path, "wrong", "", {"method": "esd-u", "layers": "xattn"})
    assert [problem.split(":")[0] for problem in refused.value.problems] == ["layers"]


def test_the_quick_preset_of_styles_is_the_style_preset_with_the_speed_of_quick() -> None:
    both = {**preset("quick").settings, **preset("style").settings, "steps_per_concept": 80}
    both |= {"learning_rate": 0.002, "guidance": 1.5}
    del both["look_every"]  # without a start in closed form it takes many updates, which looks may end
    assert preset("quick-style").settings == both


def test_the_style_presets_keep_what_is_drawn() -> None:
    for name in ("style", "quick-style"):
        left = [fill(template, "") for template in preset(name).settings["templates"]]
        assert left[0] == ""
        assert all(prompt.startswith("a picture") for prompt in left[1:])
