"""Whether prompts fit into the text encoder, known before any checkpoint is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from erasure.config.concept_texts import LISTS
from erasure.config.template import fill, template_problem
from erasure.number_of import number_of

# All families read prompts with this tokenizer, which ships with the package, at this length.
TOKENIZER = Path(__file__).parents[1] / "data" / "clip-vit-large-patch14"
MOST_TOKENS = 75  # of 77, without the start and the end token
# A text of so many characters is refused without counting: it is a mistake, and counting it would take time.
_MOST_CHARACTERS = 2000
_LONGEST_SHOWN, _LISTED = 80, 20


def length_problems(values: Mapping[str, Any]) -> list[str]:
    """Return one line for each concept that is too long for the text encoder in one of the templates, up to 20.

    ``values``: every setting with the value that is used. Too long a prompt would be cut off, and so would the concept.
    """
    templates = [template for template in values["templates"] if template_problem(template) is None]
    problems: list[str] = []
    for name in LISTS:
        for text in dict.fromkeys(values[name]):
            if len(problems) == _LISTED:
                return [*problems, "there are more concepts that are too long"]
            prompts = [fill(template, text) for template in templates]
            extra, longest = max(((tokens_too_many(prompt), prompt) for prompt in prompts), default=(0, ""))
            if extra > 0:
                within = "" if longest == text else f" as {shortened(longest)!r}"
                long = f"{number_of(extra, 'token')} too long{within}"
                problems.append(
                    f"{name}: {shortened(text)!r} is {long} for the text encoder, which reads {MOST_TOKENS}; shorten it"
                )
    return problems


def tokens_too_many(prompt: str) -> int:
    """Return by how many tokens a prompt is too long; 0 or less if it fits."""
    # Every token has at least one byte, so that only long prompts need to be counted.
    if len(prompt) * 4 <= MOST_TOKENS or len(prompt.encode(errors="replace")) <= MOST_TOKENS:
        return 0
    # Half a character, which no file can hold, is refused elsewhere; the tokenizer would stumble over it.
    return _count(prompt[:_MOST_CHARACTERS].encode(errors="replace").decode()) - MOST_TOKENS


def shortened(text: str) -> str:
    """Return a text as it is short enough for a line."""
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


@lru_cache(maxsize=256)
def _count(prompt: str) -> int:
    return len(_tokenizer()(prompt).input_ids) - 2


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from transformers import CLIPTokenizerFast  # takes seconds, and short prompts do not need it

    # Its own limit would only make it warn.
    return CLIPTokenizerFast.from_pretrained(str(TOKENIZER), local_files_only=True, model_max_length=10**9)
