"""A table of other words for concepts: synonyms, what they are a kind of, their parts, and their names elsewhere.

The package ships one (``data/other_words.json``), and users may give their own in the same form::

    {"church": {"synonyms": ["chapel"], "wider": ["building"], "parts": ["steeple"],
                "translations": {"German": ["Kirche"]}}}

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erasure import bounded_json
from erasure.concepts.naming import words
from erasure.errors import ConceptError

SHIPPED = Path(__file__).parents[1] / "data" / "other_words.json"
_LISTS = ("synonyms", "wider", "parts")
_MOST_WORDS, _LONGEST = 200, 200  # of one list, and characters of a word


@dataclass(frozen=True)
class OtherWords:
    """What a table says of one concept; ``translations`` by language."""

    synonyms: tuple[str, ...] = ()
    wider: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    translations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def translated(self) -> tuple[str, ...]:
        """The names in all other languages, each once."""
        return tuple(dict.fromkeys(word for names in self.translations.values() for word in names))


def read_other_words(path: Path = SHIPPED) -> dict[str, OtherWords]:
    """Read a table by concept. Raises: ConceptError if the file cannot be read, or has another form."""
    try:
        document = bounded_json.read(path)
        if not isinstance(document, dict):
            raise ValueError("it is no object with a concept for each entry")
        return {concept: _entry(concept, values) for concept, values in document.items()}
    except OSError as error:
        raise ConceptError(
            f"the table {path.name} cannot be read: {error.strerror or error}; check the path"
        ) from error
    except ValueError as error:
        raise ConceptError(
            f"the table {path.name} cannot be used: {error}; write JSON as in erasure/data/other_words.json"
        ) from error


def words_for(concept: str, *tables: Mapping[str, OtherWords]) -> OtherWords | None:
    """Return what the first table that knows the concept says of it; case, articles and accents make no difference."""
    for table in tables:
        for name, entry in table.items():
            if words(name) == words(concept):
                return entry
    return None


def _entry(concept: str, values: Any) -> OtherWords:
    if not isinstance(values, dict) or not values.keys() <= {*_LISTS, "translations"}:
        raise ValueError(f"{concept!r} needs an object with {', '.join(_LISTS)} or translations")
    translations = values.get("translations", {})
    if not isinstance(translations, dict):
        raise ValueError(f"translations of {concept!r} need a list of words for each language")
    lists = {name: _words(concept, values.get(name, [])) for name in _LISTS}
    return OtherWords(**lists, translations={language: _words(concept, own) for language, own in translations.items()})


def _words(concept: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(w, str) and 0 < len(w) <= _LONGEST for w in value):
        raise ValueError(f"{concept!r} has something else than lists of words of at most {_LONGEST} characters")
    if len(value) > _MOST_WORDS:
        raise ValueError(f"{concept!r} has a list of more than {_MOST_WORDS} words")
    return tuple(value)
