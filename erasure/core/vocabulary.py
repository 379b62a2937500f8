"""Where candidates to preserve come from: the built-in words, the tokenizer's own, or a user's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from erasure.config import EraseConfig
from erasure.errors import ConceptError

WORDS = Path(__file__).parents[1] / "data" / "words.txt"
# A list longer than this takes minutes to embed and is more likely a mistake than a vocabulary.
MOST_LINES = 200_000


def load_vocabulary(config: EraseConfig, tokenizer: Any) -> tuple[str, ...]:
    """The candidates, without repeats, in the source's order. Raises: ConceptError for a file that cannot be used."""
    if config.vocabulary == "tokens":
        return tokenizer_words(tokenizer)
    path = WORDS if config.vocabulary == "words" else Path(config.vocabulary_file)
    return read_words(path)


def read_words(path: Path) -> tuple[str, ...]:
    """One prompt per line; blank lines and lines that begin with ``#`` are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConceptError(
            f"the vocabulary {path.name} cannot be read as text: {error}; give a UTF-8 file, one prompt per line"
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    words = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not words:
        raise ConceptError(f"the vocabulary {path.name} is empty; write one prompt per line")
    if len(words) > MOST_LINES:
        raise ConceptError(f"the vocabulary {path.name} has {len(words):,} prompts; {MOST_LINES:,} at most")
    return words


def tokenizer_words(tokenizer: Any) -> tuple[str, ...]:
    """Whole words of CLIP's vocabulary: tokens that end a word, of ASCII letters only, three or longer.

    Three-letter tokens without a vowel are mostly abbreviations and are left out as well.
    """
    words = []
    for token in sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__):
        word = token.removesuffix("</w>")
        if word == token or len(word) < 3 or not (word.isascii() and word.isalpha()):
            continue
        if not set(word) & set("aeiouy"):
            continue
        words.append(word)
    return tuple(dict.fromkeys(words))
