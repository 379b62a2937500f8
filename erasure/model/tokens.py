"""Where the tokens of a concept stand in a prompt."""

from __future__ import annotations

from transformers import CLIPTokenizer

from erasure.config.template import parts


def concept_tokens(tokenizer: CLIPTokenizer, template: str, concept: str) -> range:
    """Return the places of the concept's tokens in ``fill(template, concept)``; the start token's is 0.

    ``.stop - 1`` is its last token, which has seen all of it (the text encoder is causal). For ``""`` the range is
    empty, and that is the last token of what comes before: the start token if nothing does. Of a prompt that is too
    long, at least the last token that is left belongs to the concept.
    """

    def count(text: str) -> int:
        return len(tokenizer(text, truncation=True).input_ids) - 2  # without the start and the end token

    before, _, after = parts(template, concept)
    # A concept that touches its surroundings, as in "{}s", is split into other tokens than by itself.
    stop = 1 + min(count(before + concept), count(before + concept + after))
    start = 1 + count(before)
    return range(min(start, stop - 1) if concept else stop, stop)
