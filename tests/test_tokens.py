"""The tokens of a concept are found in its prompt."""

from __future__ import annotations

import pytest

from erasure.config.template import fill
from erasure.model.model import Model
from erasure.model.tokens import concept_tokens


@pytest.mark.parametrize(
    ("template", "concept", "tokens"),
    [
        ("{}", "church", ["church</w>"]),
        ("a picture of a {}", "garbage truck", ["garbage</w>", "truck</w>"]),
        ("a {} in the snow", "garbage truck", ["garbage</w>", "truck</w>"]),
        ("a house[ in the style of {}], at night", "Van Gogh", ["van</w>", "gogh</w>"]),
        ("a dog,{}", "church", ["church</w>"]),
    ],
)
def test_the_tokens_of_a_concept_are_those_of_its_name(
    tiny_model: Model, template: str, concept: str, tokens: list[str]
) -> None:
    tokenizer = tiny_model.tokenizer
    whole = tokenizer.convert_ids_to_tokens(tokenizer(fill(template, concept)).input_ids)
    assert [whole[place] for place in concept_tokens(tokenizer, template, concept)] == tokens


@pytest.mark.parametrize(("template", "before"), [("a {}", 0), ("a house[ by {}], at night", 2), ("[{}'s ]house", 0)])
def test_nothing_has_no_tokens_and_stands_after_what_comes_before_it(
    tiny_model: Model, template: str, before: int
) -> None:
    found = concept_tokens(tiny_model.tokenizer, template, "")
    assert (len(found), found.stop - 1) == (0, before)


def test_a_concept_has_a_token_even_where_it_is_glued_or_cut_off(tiny_model: Model) -> None:
    tokenizer = tiny_model.tokenizer
    for template in ("{}s", "un{}", "un{}s", "x " * 100 + "{}"):
        found = concept_tokens(tokenizer, template, "church")
        end = len(tokenizer(fill(template, "church"), truncation=True).input_ids) - 1
        assert 1 <= found.start < found.stop <= end
