"""The settings of several LoRA files together: what is joined, what contradicts, and who decides."""

from __future__ import annotations

import json
from typing import Any

import pytest

from erasure.combine.joint import Joint, Stated, joint_config
from erasure.config.values import erase_config
from erasure.errors import ConfigError
from erasure.lora.metadata import ASKED_KEY, CONFIG_KEY, NAMES_KEY


def says(name: str, weight: float = 1.0, **asked: Any) -> Stated:
    """A file as a training writes it."""
    used = erase_config(**asked).to_dict()
    return Stated(name, {CONFIG_KEY: json.dumps(used), ASKED_KEY: json.dumps(asked)}, weight)


def edited(name: str, **said: Any) -> Stated:
    """A file whose settings anyone may have edited."""
    return Stated(name, {CONFIG_KEY: json.dumps(said)})


def noted(joint: Joint) -> str:
    return "\n".join(joint.notes)


def test_concepts_are_joined() -> None:
    joint = joint_config(
        [
            says("A", erase=["church", "red car"], synonym=["chapel"], preserve=["house"]),
            says("B", erase='"bread, butter"', synonym=["Chapel", "toast"], preserve=["House", "dog"]),
        ]
    )
    config = joint.config
    assert config is not None
    assert config.erase == joint.erases == ("church", "red car", "bread, butter")
    assert config.synonym == ("chapel", "toast")
    assert config.preserve == ("house", "dog")
    assert config.anchor == ()
    assert joint.notes == ()
    # settled like any other order: the method's rank for three concepts, not that of one file
    assert config.rank == erase_config(erase=config.erase).rank


def test_every_target_keeps_its_own_anchor() -> None:
    files = [says("A", erase=["church"], anchor=["house"]), says("B", erase=["car", "bus"], anchor=["bike", "tram"])]
    config = joint_config([*files, says("C", erase=["bell"])]).config
    assert config is not None
    assert dict(zip(config.erase, config.anchors, strict=True)) == {
        "church": "house", "car": "bike", "bus": "tram", "bell": "",
    }  # fmt: skip
    same = joint_config([says("A", erase=["church"], anchor=["house"]), says("B", erase=["car"], anchor=["house"])])
    assert same.config is not None
    assert same.config.anchor == ("house",)


def test_a_target_of_two_files_is_one_and_the_first_says_what_it_turns_into() -> None:
    joint = joint_config([says("A", erase=["church"], anchor=["house"]), says("B", erase=["Church"])])
    assert joint.config is not None
    assert (joint.config.erase, joint.config.anchors) == (("church",), ("house",))
    assert "B turns 'Church' into 'nothing', another file into 'house'" in noted(joint)


def test_what_one_preserves_and_another_erases_is_erased_with_a_note() -> None:
    joint = joint_config([says("A", erase=["dog"]), says("B", erase=["car"], preserve=["dog", "small dog", "cat"])])
    assert joint.config is not None
    assert joint.config.preserve == ("cat",)
    assert "B preserves 'dog', which is erased: it is not preserved" in joint.notes
    assert "B preserves 'small dog', which names 'dog', which is erased: it is not preserved" in joint.notes


def test_nothing_is_turned_into_what_another_file_erases() -> None:
    joint = joint_config([says("A", erase=["church"], anchor=["car"]), says("B", erase=["car"], anchor=["church"])])
    assert joint.config is not None
    assert joint.config.anchors == ("", "")
    assert "'church' was turned into 'car', which is erased as well: it is turned into nothing" in joint.notes


def test_of_other_settings_the_first_file_decides_where_they_differ() -> None:
    joint = joint_config(
        [
            says("A", erase=["church"], vocabulary="words", seed=3, batch=2),
            says("B", erase=["car"], vocabulary="styles", batch=2, learning_rate=0.5, steps=9, rank=5, layers="full"),
        ]
    )
    config = joint.config
    assert config is not None
    assert (config.vocabulary, config.seed, config.batch) == ("words", 3, 2)
    # what belongs to a training, or to a file's own size, is not taken from any
    assert (config.steps, config.layers, config.learning_rate) == (0, "xattn", erase_config(erase=["x"]).learning_rate)
    assert joint.notes == ("the files differ in vocabulary ('words', 'styles'), seed (3, 0); A decides",)


def test_settings_and_concepts_that_are_given_count_more() -> None:
    files = [says("A", erase=["church"], seed=3), says("B", erase=["car"], preserve=["dog"])]
    joint = joint_config(files, ["a dog, bell"], ["cat"], {"seed": 7, "steps": 12})
    config = joint.config
    assert config is not None
    assert config.erase == ("church", "car", "a dog", "bell")
    assert (config.preserve, config.seed, config.steps) == (("cat",), 7, 12)
    for given in ({"seed": "x"}, {"speed": 1}):
        with pytest.raises(ConfigError):
            joint_config(files, given=given)
    with pytest.raises(ConfigError):
        joint_config(files, ["[a|b]"])


def test_a_file_made_by_another_method_gives_its_concepts_alone() -> None:
    joint = joint_config([says("A", erase=["car"], method="uce", seed=5, templates=["a {}"]), says("B", erase=["bus"])])
    config = joint.config
    assert config is not None
    assert (config.method, config.erase, config.seed) == ("adversarial", ("car", "bus"), 0)
    assert config.templates == ("a {}",)


def test_files_that_do_not_say_what_they_erase_are_named() -> None:
    joint = joint_config([Stated("foreign", {}), says("A", erase=["car"]), edited("empty", erase=[])])
    assert joint.silent == ("foreign", "empty")
    assert joint.erases == ("car",)
    nobody = joint_config([Stated("foreign", {})])
    assert (nobody.config, nobody.problem) == (None, "no file says what it erases")
    named = joint_config([Stated("foreign", {})], ["car"])
    assert named.config is not None
    assert named.config.erase == ("car",)


def test_every_file_is_told_which_joint_targets_are_its_own() -> None:
    files = [
        says("A", erase=["church", "car"]),
        Stated("foreign", {}),
        says("B", erase=["Church"]),
        says("C", -1.0, erase=["x"]),
    ]
    assert joint_config(files, ["bell"]).each == (("church", "car"), ("bell",), ("church",), ())
    assert joint_config(files).each == (("church", "car"), (), ("church",), ())
    # of several that do not say it, nobody knows whose it is
    assert joint_config([*files, Stated("other", {})], ["bell"]).each[1] == ()


def test_names_that_went_along_are_joined_and_a_clash_with_them_is_noted() -> None:
    one, two = says("A", erase=["church"]), says("B", erase=["Church", "car"], preserve=["Chapel"])
    names = ({"church": ["chapel"]}, {"Church": ["chapel", "kirk", 3, "x" * 5000], "car": "no list", "other": ["dog"]})
    files = [
        Stated(file.name, {**file.metadata, NAMES_KEY: json.dumps(n)})
        for file, n in zip((one, two), names, strict=True)
    ]
    joint = joint_config(files)
    assert joint.along == {"church": ("chapel", "kirk")}
    assert joint.config is not None
    assert joint.config.preserve == ("Chapel",)
    assert "B preserves 'Chapel', which went along with 'church' in another file" in joint.notes


def test_a_file_at_a_negative_weight_erases_nothing() -> None:
    joint = joint_config([says("A", erase=["car"]), says("B", -0.5, erase=["dog"], preserve=["bus"])])
    assert joint.config is not None
    assert (joint.config.erase, joint.config.preserve, joint.silent) == (("car",), (), ())
    assert joint.notes == ("B has a negative weight: it brings 'dog' out",)


@pytest.mark.parametrize(
    "said",
    [
        {"erase": [3]},
        {"erase": {"a": 1}},
        {"erase": ["x"] * 2},
        {"erase": ["x"], "method": "nothing"},
        {"erase": ["x"], "method": []},
        {"erase": ["x"], "seed": "many"},
        {"erase": ["x"], "rank": None, "templates": ["no place"]},
        {"erase": ["x" * 5000]},
        {"erase": ["x"], "vocabulary": "files"},
    ],
)
def test_what_a_hostile_file_says_is_left_out_with_a_note(said: dict[str, Any]) -> None:
    joint = joint_config([says("A", erase=["car"]), edited("B", **said)])
    assert joint.erases == ("car",)
    assert joint.silent == ("B",)
    assert "what B says of itself cannot be used" in noted(joint)


def test_no_file_leads_to_another_file_of_this_machine() -> None:
    said = edited("B", erase=["x"], vocabulary="file", vocabulary_file="/etc/passwd")
    config = joint_config([said]).config
    assert config is not None
    assert (config.vocabulary, config.vocabulary_file) == ("words", "")


def test_too_much_together_is_a_problem_and_no_error() -> None:
    joint = joint_config([says(str(i), erase=[f"thing {i} {j}" for j in range(60)]) for i in range(2)])
    assert joint.config is None
    assert "120 are too many" in joint.problem
    assert len(joint.erases) == 120
