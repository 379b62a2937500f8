"""Other ways to ask for a concept: which there are, that they are the same every time, and tables of other words."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoji_sd.concepts import PAPER_TEN
from erasure.concepts.other_words import SHIPPED, OtherWords, read_other_words, words_for
from erasure.concepts.spellings import look_alikes, misspellings, spaced
from erasure.concepts.wordings import KINDS, NEIGHBOURS, wordings


def test_every_kind_of_wording_is_there_and_none_twice() -> None:
    found = wordings("church", ["chapel"], ["temple"], words_for("church", read_other_words()))
    assert {wording.kind for wording in found} == set(KINDS)
    prompts = [wording.prompt("a picture of a {}") for wording in found]
    assert len(prompts) == len(set(prompts))
    assert prompts[0] == "a picture of a church"
    assert {"a picture of a chapel", "a picture of a Kirche", "a picture of a CHURCH", "a picture of a churches",
            "no church", "a drawing of a church"} <= set(prompts)  # fmt: skip


def test_a_style_keeps_what_goes_with_it() -> None:
    prompts = [
        wording.prompt("a picture of a house[ in {}]") for wording in wordings("cubism") if wording.kind == "long"
    ]
    assert all("a picture of a house in cubism" in prompt for prompt in prompts)


def test_what_the_user_told_is_a_synonym_although_the_table_says_otherwise() -> None:
    found = wordings("church", ["steeple"], table=OtherWords(parts=("steeple", "nave")))
    assert [w.kind for w in found if w.word == "steeple"] == ["synonyms"]
    assert (
        sum(w.kind == "neighbours" for w in wordings("church", neighbours=[f"w{i}" for i in range(50)])) == NEIGHBOURS
    )


def test_misspellings_have_one_or_two_letters_wrong_and_follow_from_the_seed() -> None:
    found = misspellings("church", 8, seed=1)
    assert len(set(found)) == 16
    assert "church" not in found
    assert all(_edits(text, "church") <= 2 for text in found[:8])  # two swapped letters are two replaced ones
    assert all(_edits(text, "church") <= 4 for text in found)
    assert misspellings("church", 8, seed=1) == found
    assert misspellings("church", 8, seed=2) != found


@pytest.mark.parametrize("name", ["ox", "a", "123", "日本"])
def test_a_name_with_few_letters_has_fewer_misspellings_and_fails_in_none(name: str) -> None:
    assert len(misspellings(name, 8)) <= 16
    assert len(wordings(name)) > 5


def test_letters_are_set_apart_or_replaced_by_those_that_look_like_them() -> None:
    assert spaced("dog") == ("d o g", "d-o-g", "d.o.g", "d og")
    found = look_alikes("dog")
    assert "dоg" in found  # with a Cyrillic o
    assert "d0g" in found
    assert "ｄｏｇ" in found
    assert not any(text.isascii() and text.isalpha() for text in found)


def test_the_shipped_table_knows_the_concepts_of_the_bench_in_five_languages() -> None:
    table = read_other_words()
    for concept in PAPER_TEN:
        entry = table[concept]
        assert len(entry.translations) == 5
        assert entry.synonyms
        assert entry.parts


def test_a_table_is_found_by_any_spelling_of_its_concept_and_the_users_own_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"A Church": {"synonyms": ["kirk"]}}', encoding="utf-8")
    tables = read_other_words(own), read_other_words()
    assert words_for("church", *tables) == OtherWords(synonyms=("kirk",))
    assert words_for("Dog", *tables) == read_other_words(SHIPPED)["dog"]
    assert words_for("submarine", *tables) is None


def _edits(one: str, other: str) -> int:
    """The Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row, above = [i], row
        for j, b in enumerate(other, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]
