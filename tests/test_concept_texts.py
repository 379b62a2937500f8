"""Several concepts in one text, quotation marks and web UI syntax: read by the same rules in every way in."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from erasure.cli.flags import add_config_flags, config_from_flags
from erasure.cli.judge import add_parser as add_judge
from erasure.concepts.clashes import clashes
from erasure.concepts.naming import names_target
from erasure.config.concept_texts import join_texts, read_lists, read_texts, written
from erasure.config.settings import EraseConfig
from erasure.config.settle import asked_of, decided, notes_of, with_changes
from erasure.config.values import config_from_dict, config_from_record, erase_config
from erasure.errors import ConfigError
from erasure.jobs.order import Wanted, read_order
from erasure.ui.form import controls, read_form
from tests.fake_host import FakeHost


@pytest.mark.parametrize(
    "text",
    [
        "church, truck",
        "church and truck",
        "church AND truck",
        "church; truck",
        "church\ntruck",
        "church\r\n truck\n",
        " church ,, truck, ",
        "church, and truck",
        "church，truck",
        "(church:1.2), [truck]",
        "((church)), truck:0.8",
        "(church, truck:1.3) <lora:thing:1>",
        "church:1.1 AND truck :0.9",
        "{church}, truck BREAK",
        '"church", truck',
        "church,\ntruck,\n",
        "church,\r\ntruck",
        "„church“, „truck“",
        "「church」、truck",
    ],
)
def test_two_concepts_in_one_text_are_two(text: str) -> None:
    assert read_texts(text) == ["church", "truck"]


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ('"a church, at night"', "a church, at night"),
        ("“salt and pepper”", "salt and pepper"),
        ("„Apfel, Birne“", "Apfel, Birne"),
        ("”Bonnie and Clyde”", "Bonnie and Clyde"),
        ("»Bonnie and Clyde«", "Bonnie and Clyde"),
        ("「りんご、なし」", "りんご、なし"),
        ('"(church:1.2)"', "(church:1.2)"),
        ('"a ""big"" church"', 'a "big" church'),
        ('12" record', '12" record'),
        ("saber \\(fate\\)", "saber (fate)"),
        ("saber (fate)", "saber fate"),
        ("android", "android"),
        ("John 3:16", "John 3:16"),
        ("Star Wars: A New Hope", "Star Wars: A New Hope"),
    ],
)
def test_one_concept_stays_one(text: str, concept: str) -> None:
    assert read_texts(text) == [concept]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[church|truck]", "alternates"),
        ("{church|truck}", "alternates"),
        ("[church:truck:0.5]", "changes the text"),
        ("church BREAK truck", "BREAK"),
        ("embedding:church", "embeddings"),
        ("a __building__", "wildcard"),
        ("<lora:church:1>", "names nothing"),
        (":)", "names nothing"),
        (",", "names no concept"),
        ('"church', "quotation mark"),
        ('big "church, old" tower', "quotation mark"),
    ],
)
@pytest.mark.parametrize("name", ["erase", "synonym", "preserve"])
def test_what_has_no_clear_meaning_is_refused_with_a_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        erase_config(**{"erase": "dog", name: text})
    (problem,) = refused.value.problems
    assert problem.startswith(f"{name}: ")
    assert reason in problem


def test_what_is_taken_otherwise_than_written_is_noted() -> None:
    config = erase_config(erase="(church:1.2)", preserve=["salt and pepper", "bus, dog"])
    assert config.erase == ("church",)
    assert config.preserve == ("salt", "pepper", "bus", "dog")
    stripped, parted = notes_of(config)
    assert stripped.startswith("erase: '(church:1.2)' is read as 'church'")
    assert "'salt', 'pepper'; in quotation marks it is one concept" in parted
    assert not {"erase", "preserve"} & set(decided(config))


def test_what_nobody_sees_around_a_concept_is_no_part_of_it() -> None:
    assert read_texts("\u200b\u202echurch\u202c, \ufefftruck\xa0") == ["church", "truck"]
    assert read_texts('"\u200echurch, at night\u200e"') == ["church, at night"]
    # A family is one emoji of three, and a flag may end with marks of its own.
    for emoji in ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f3f4\U000e0067\U000e0062\U000e007f"):
        assert read_texts(emoji) == [emoji]
    assert read_lists({"erase": "\u200b"}).problems == ("erase: '\\u200b' names no concept",)


def test_empty_anchors_among_others_stay_empty() -> None:
    for text, anchors in {
        "building,": ("building", ""),
        ", tree": ("", "tree"),
        ', "a, b"': ("", "a, b"),
        '"a, b",': ("a, b", ""),
    }.items():
        assert erase_config(erase="church, bell", anchor=text).anchor == anchors
    assert read_lists({"anchor": [" "]}).values["anchor"] == ("",)


def test_anchors_may_stand_in_lines_that_end_with_commas() -> None:
    given = {"erase": "church,\ntruck,\nradio", "anchor": "barn,\ncar,\r\nbell"}
    config = config_from_dict(given)
    assert (config.erase, config.anchor) == (("church", "truck", "radio"), ("barn", "car", "bell"))
    assert config_from_dict({**given, "anchor": "barn,,bell"}).anchor == ("barn", "", "bell")
    assert config_from_dict({**given, "anchor": "barn\n\nbell"}).anchor == ("barn", "", "bell")


def test_texts_with_a_mark_of_inches_can_stand_side_by_side() -> None:
    texts = ['12" record', '7" single']
    assert read_texts(join_texts(texts)) == texts


def test_every_way_in_reads_the_same(tmp_path: Path, tiny_checkpoint: Path) -> None:
    given = {"erase": 'church, "a, b"', "anchor": "building and sky", "synonym": "kirk; chapel", "preserve": "bus, dog"}
    wanted = erase_config(**given)
    assert wanted.erase == ("church", "a, b")
    host = FakeHost(tmp_path, tiny_checkpoint)
    assert read_order(host, Wanted(settings=given)).settled.config == wanted
    held = {name: control.default for name, control in controls().items()}
    assert config_from_dict(read_form({**held, **given})) == wanted
    assert _from_flags([f"--{name}={text}" for name, text in given.items()]) == wanted
    file = tmp_path / "config.json"
    file.write_text(json.dumps(given))
    assert _from_flags([f"--config={file}"]) == wanted


def test_what_was_asked_for_is_read_again_to_the_same() -> None:
    config = erase_config(erase='"church, old", (bell:1.2) and bus')
    assert config.erase == ("church, old", "bell", "bus")
    assert with_changes(config, rank=4).erase == config.erase
    record = json.loads(json.dumps([config.to_dict(), asked_of(config)]))
    again = config_from_record(*record)
    assert (again, again.asked) == (config, config.asked)


def test_a_record_of_an_older_version_keeps_its_commas() -> None:
    old = EraseConfig(erase=("church, old", "salt and pepper"), rank=8, alpha=8.0, learning_rate=0.001)
    for asked in ({"erase": ["church, old", "salt and pepper"], "learning_rate": 0.001}, None):
        again = config_from_record(old.to_dict(), asked)
        assert again.erase == old.erase
        assert with_changes(again, rank=4).erase == old.erase
    assert with_changes(old, rank=4).erase == old.erase


def test_any_text_can_be_written_so_that_it_is_read_as_it_is() -> None:
    parts = [
        "a",
        "b",
        " ",
        ",",
        ";",
        '"',
        "“",
        "”",
        "(",
        ")",
        "[",
        ":",
        "1.2",
        " and ",
        "|",
        "<x:1>",
        "\\(",
        "\n",
        "BREAK",
    ]
    draw = random.Random(0)
    for _ in range(3000):
        texts = ["".join(draw.choices(parts, k=draw.randint(1, 8))).strip() for _ in range(2)]
        texts = [text for text in texts if text]
        assert [concept for text in texts for concept in read_texts(written(text))] == texts
        assert read_texts(join_texts(texts)) == texts


def test_what_a_target_lists_is_not_preserved_while_it_goes() -> None:
    assert names_target("church", "church, truck")
    assert names_target("old trucks", "church, truck")
    assert not names_target("bus", "church, truck")
    assert clashes(erase_config(erase='"church, truck"', preserve="church"))
    with pytest.raises(ConfigError, match="it cannot be both"):
        erase_config(erase="church, truck", preserve="church")
    with pytest.raises(ConfigError, match="it names 'church'"):
        _from_flags(["--erase=church, truck", "--preserve=old churches"])


@pytest.mark.parametrize("name", ["erase", "synonym", "preserve", "anchor"])
def test_a_concept_that_the_text_encoder_would_cut_off_is_refused_before_any_checkpoint(name: str) -> None:
    fits = " ".join(["church"] * 75)
    assert erase_config(**{"erase": "dog", name: fits})
    with pytest.raises(ConfigError, match=f"{name}: 'church .*1 token too long"):
        erase_config(**{"erase": "dog", name: f"{fits} bell"})
    with pytest.raises(ConfigError, match="4 tokens too long as 'a photo of a church"):
        erase_config(**{"erase": "dog", "templates": ["{}", "a photo of a {}"], name: fits})
    with pytest.raises(ConfigError, match="too long"):
        erase_config(**{"erase": "dog", name: "教" * 1000})
    with pytest.raises(ConfigError, match=f"{name}: .* has 100,000 characters, more than 1,000"):
        erase_config(**{"erase": "dog", name: "教" * 100_000})


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ConfigError, match="half of a surrogate pair"):
        erase_config(erase="church\udcff")


def test_the_judge_takes_lists_too() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_judge(parser.add_subparsers())
    arguments = parser.parse_args(["judge", "--checkpoint=a", "--lora=b", "--erase=church, truck", "--keep=dog"])
    assert read_lists({"erase": arguments.erase}).values["erase"] == ("church", "truck")


def _from_flags(flags: list[str]) -> EraseConfig:
    import argparse

    parser = argparse.ArgumentParser()
    add_config_flags(parser)
    return config_from_flags(parser.parse_args(flags))
