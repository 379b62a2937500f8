"""Other spellings of a name that a reader still takes for it: letters wrong, set apart, or like its own.

Needs no torch.
"""

from __future__ import annotations

import random
import string

# Letters of other scripts and digits that look like those of the Latin alphabet (a few of Unicode's "confusables").
_CYRILLIC = dict(zip("aceopxyishj", "асеорхуіѕһј", strict=True))
_DIGITS = dict(zip("oleas", "013@5", strict=True))
_ACCENTS = dict(zip("aeiounc", "áéíóúñç", strict=True))
# Full-width forms lie this far above ASCII in Unicode.
_FULL_WIDTH = 0xFEE0
# A name of few letters has few misspellings.
_TRIES = 50


def misspellings(name: str, each: int, *, seed: int = 0) -> tuple[str, ...]:
    """Return ``each`` misspellings with one edit and as many with two, fewer if the name is too short.

    An edit leaves out, doubles, swaps or replaces a letter, as Damerau (1964) found for most misspellings. They depend
    on ``seed`` and ``name`` alone.
    """
    chance = random.Random(f"{seed} {name}")
    found: list[str] = []
    for edits in (1, 2):
        own: list[str] = []
        for _ in range(_TRIES * each):
            text = name
            for _ in range(edits):
                text = _edited(text, chance)
            if text != name and text.strip() and text not in found and text not in own:
                own.append(text)
            if len(own) == each:
                break
        found += own
    return tuple(found)


def spaced(name: str) -> tuple[str, ...]:
    """Return the name with its letters set apart, and cut in two."""
    letters = name.replace(" ", "")
    middle = len(letters) // 2
    found = (" ".join(letters), "-".join(letters), ".".join(letters), f"{letters[:middle]} {letters[middle:]}")
    return tuple(dict.fromkeys(text for text in found if text != name))


def look_alikes(name: str) -> tuple[str, ...]:
    """Return the name in letters that look like its own: one of them and all, digits, accents and full-width forms."""
    lower = name.lower()
    found = [_replaced(lower, letters, most) for letters in (_CYRILLIC, _DIGITS, _ACCENTS) for most in (1, len(name))]
    found.append("".join(chr(ord(c) + _FULL_WIDTH) if c in string.ascii_letters else c for c in lower))
    return tuple(dict.fromkeys(text for text in found if text != lower))


def _edited(text: str, chance: random.Random) -> str:
    """Return the text with one letter left out, doubled or replaced, or two swapped."""
    at = [i for i, c in enumerate(text) if c.isalpha()]
    if not at:
        return text
    i = chance.choice(at)
    edit = chance.choice(("leave out", "double", "replace", "swap"))
    if edit == "leave out":
        return text[:i] + text[i + 1 :]
    if edit == "double":
        return text[:i] + text[i] + text[i:]
    if edit == "swap" and i + 1 < len(text):
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    return text[:i] + chance.choice(string.ascii_lowercase) + text[i + 1 :]


def _replaced(text: str, letters: dict[str, str], most: int) -> str:
    left = most
    made = []
    for c in text:
        made.append(letters[c] if left and c in letters else c)
        left -= bool(left and c in letters)
    return "".join(made)
