"""Templates put a concept into a prompt, and take it out again."""

from __future__ import annotations

import pytest

from erasure.config.template import concept_in, fill, template_problem


@pytest.mark.parametrize(
    ("template", "with_it", "without"),
    [
        ("{}", "Van Gogh", ""),
        ("a painting by {}, detailed", "a painting by Van Gogh, detailed", ""),
        ("a house[ by {}]", "a house by Van Gogh", "a house"),
        ("[{}'s ]house at night", "Van Gogh's house at night", "house at night"),
        ("[{}]", "Van Gogh", ""),
    ],
)
def test_what_goes_with_a_concept_is_in_brackets(template: str, with_it: str, without: str) -> None:
    assert template_problem(template) is None
    assert fill(template, "Van Gogh") == with_it
    assert fill(template, "") == without
    assert concept_in(template, with_it) == "Van Gogh"


def test_a_prompt_of_another_template_holds_no_concept() -> None:
    for prompt in ("a house", "a house by ", "a painting by Van Gogh"):
        assert concept_in("a house[ by {}]", prompt) is None


def test_braces_and_brackets_of_a_concept_are_its_own() -> None:
    for concept in ("{x}", "{}", "[a] b", "\\1"):
        assert fill("a house[ by {}]", concept) == f"a house by {concept}"
        assert concept_in("a house[ by {}]", f"a house by {concept}") == concept


@pytest.mark.parametrize("template", ["a house", "{} and {}", "a [house] by {}", "a house[ by {}", "[[{}]]", "{}]["])
def test_a_template_without_a_place_or_with_stray_brackets_is_refused(template: str) -> None:
    assert template_problem(template) is not None
