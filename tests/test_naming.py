"""Words that name a target."""

from __future__ import annotations

import pytest

from erasure.concepts.naming import is_wider, names_target, plurals, same_noun, words

NAMES = [
    ("church", "church"),
    ("Church", "church"),
    ("CHURCHES", "church"),
    ("church", "Churches"),
    ("the church", "church"),
    ("a church", "the church"),
    ("church's", "church"),
    ("churches’", "church"),
    ("church.", "church"),
    ("old church", "church"),
    ("the big old churches", "church"),
    ("a church in the snow", "church"),
    ("photo of a church", "church"),
    ("painting, church, sunset", "church"),
    ("church painting", "church"),
    ("church photos", "church"),
    ("garbage truck", "garbage truck"),
    ("garbage trucks", "garbage truck"),
    ("Garbage-truck", "garbage truck"),
    ("garbagetruck", "garbage truck"),
    ("big garbage truck", "garbage truck"),
    ("garbage truck driver", "garbage truck"),
    ("garbage truck", "truck"),
    ("lightbulb", "light bulb"),
    ("broken lightbulbs", "light bulb"),
    ("light bulb", "lightbulb"),
    ("van gogh", "Van Gogh"),
    ("Van Gogh's", "Van Gogh"),
    ("painting by Van Gogh", "Van Gogh"),
    ("van gogh style", "Van Gogh"),
    ("Picasso style", "Picasso"),
    ("in the style of Picasso", "Picasso"),
    ("Dali", "Dalí"),
    ("snowmen", "snowman"),
    ("two women", "woman"),
    ("wolves", "wolf"),
    ("cherries", "cherry"),
    ("tomatoes", "tomato"),
    ("buses", "bus"),
    ("sports cars", "car"),
    ("glasses", "glasses"),
    ("people", "person"),
    ("教会", "教会"),
    ("the", "the"),
    ("!!!", "!!!"),
]

DOES_NOT_NAME = [
    ("truck", "garbage truck"),
    ("garbage", "garbage truck"),
    ("truck garbage", "garbage truck"),
    ("church bell", "church"),
    ("churchyard", "church"),
    ("chapel", "church"),
    ("religious", "church"),
    ("search", "church"),
    ("golf ball", "golf"),
    ("dogma", "dog"),
    ("hot dog stand", "dog"),
    ("woman", "man"),
    ("women", "man"),
    ("human", "man"),
    ("princes", "princess"),
    ("news", "new"),
    ("glasses", "glass"),
    ("bra", "brass"),
    ("gogh", "Van Gogh"),
    ("van", "Van Gogh"),
    ("Vincent", "Van Gogh"),
    ("house", "bus"),
    ("!!!", "???"),
    ("", "church"),
]


@pytest.mark.parametrize(("prompt", "target"), NAMES)
def test_a_prompt_that_names_the_target_is_told(prompt: str, target: str) -> None:
    assert names_target(prompt, target)


@pytest.mark.parametrize(("prompt", "target"), DOES_NOT_NAME)
def test_a_prompt_that_is_only_near_the_target_is_not_taken_for_it(prompt: str, target: str) -> None:
    assert not names_target(prompt, target)


def test_every_text_names_itself() -> None:
    for text in (
        "church",
        "Van Gogh",
        "of",
        "the a",
        "--",
        "rock 'n' roll",
        "🍕",
        "it's a dog's life",
        "1984",
    ):
        assert names_target(text, text), text


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("church", "churches"), ("bus", "buses"), ("house", "houses"), ("box", "boxes"), ("city", "cities"),
        ("key", "keys"), ("knife", "knives"), ("roof", "roofs"), ("potato", "potatoes"), ("radio", "radios"),
        ("fireman", "firemen"), ("grandchild", "grandchildren"), ("goose", "geese"),
        ("mongoose", "mongooses"), ("oasis", "oases"), ("cactus", "cacti"), ("maple leaf", "maple leaves"),
        ("monarch", "monarchs"), ("arch", "arches"), ("stomach", "stomachs"), ("search", "searches"),
        ("starch", "starches"),
    ],
)  # fmt: skip
def test_plurals_are_known(singular: str, plural: str) -> None:
    assert plural in plurals(singular)
    assert same_noun(plural, singular)


def test_words_that_only_look_like_a_plural_are_their_own() -> None:
    assert not same_noun("news", "new")
    assert not same_noun("glasses", "glass")
    assert not same_noun("shorts", "short")


@pytest.mark.parametrize(("one", "other"), [("カラス", "ガラス"), ("หมี", "หมู"), ("バン", "パン"), ("काला", "कील")])
def test_marks_that_make_another_word_in_other_scripts_are_no_accents(one: str, other: str) -> None:
    assert not names_target(one, other)
    assert not names_target(other, one)
    assert names_target(f"a {one}", one)


def test_words_drop_case_accents_articles_and_punctuation() -> None:
    assert words("The  Café-Bar's, (old)!") == ("cafe", "bar", "old")
    assert words("a an the") == ("a", "an", "the")


@pytest.mark.parametrize(
    ("candidate", "target", "wider"),
    [
        ("truck", "garbage truck", True),
        ("Trucks", "garbage truck", True),
        ("garbage", "garbage truck", True),
        ("pump", "fuel pump", True),
        ("beach", "people on a beach", True),
        ("style", "van Gogh style", True),
        ("painting", "Picasso painting", True),
        ("lightbulb", "old light bulb", True),
        ("van Gogh", "van Gogh style", False),
        ("church", "photo of a church", False),
        ("Vincent van Gogh", "in the style of Vincent van Gogh", False),
        ("Vincent van Gogh", "oil painting by Vincent van Gogh", False),
        ("Vincent van Gogh", "painting in the style of Vincent van Gogh", False),
        ("Vincent van Gogh", "by Vincent van Gogh", False),
        ("hat", "man in a hat", True),
        ("lorry", "garbage truck", False),
        ("garbage trucks", "garbage truck", False),
        ("old truck", "garbage truck", False),
        ("church", "church", False),
        ("chapel", "church", False),
    ],
)
def test_a_part_of_the_target_is_wider_than_it(candidate: str, target: str, wider: bool) -> None:
    assert is_wider(candidate, target) == wider
