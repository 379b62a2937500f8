"""Tells which prompts name a target by their words alone: they must not be preserved while it is erased.

A prompt names a target if one of its noun phrases has the target as its whole head ("old church" for
"church", but not "church bell"), if it shows or describes the target ("photo of a church", "church
painting"), or if it holds a target of several words as a unit ("garbage truck driver" for "garbage truck",
but not "truck"). Case, plural, articles, accents, punctuation and hyphens make no difference. These
are English rules; other languages are compared word by word.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ARTICLES = _set("a an the")

# A noun phrase ends before these; its head is its last word.
_PHRASE_BREAKS = _set(
    """
    about above across after against along among and around as at before behind below beneath beside between
    beyond by during for from in inside into like near next of off on onto or outside over per than through to
    toward towards under underneath up upon versus vs via while with within without
    """
)

# "church painting" and "Picasso style" are about a church and Picasso, although their head is another word.
_DEPICTIONS = _set(
    """
    aesthetic art artwork concept depiction drawing illustration image painting photo photograph photography
    pic picture poster print render rendering scene sketch style styled wallpaper
    """
)

# Words that look like the plural of another word, but mean something else.
_NOT_PLURALS = _set("clothes customs glasses goods jeans means news pants physics shorts spectacles woods")

_IRREGULAR = {
    "child": "children",
    "die": "dice",
    "foot": "feet",
    "goose": "geese",
    "louse": "lice",
    "man": "men",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "tooth": "teeth",
    "woman": "women",
    "cactus": "cacti",
    "fungus": "fungi",
    "octopus": "octopi",
    "alumnus": "alumni",
    "bacterium": "bacteria",
    "medium": "media",
    "phenomenon": "phenomena",
    "quiz": "quizzes",
}

# Ends of words whose "ch" is spoken like a "k": "monarch", "patriarch", "oligarch", but not "church" or "arch".
_CH_AS_K = ("narch", "iarch", "garch", "trarch", "stomach", "epoch", "eunuch", "loch")

_F_TO_VES = _set("calf dwarf elf half hoof knife leaf life loaf scarf self sheaf shelf thief wharf wife wolf")


@lru_cache(maxsize=65536)
def plurals(word: str) -> frozenset[str]:
    """Return the English plurals of a lower-case noun, regular and common irregular ones; several if usage varies.

    There is no function for singulars, because those are ambiguous ("buses", "houses"; "leaves", "gloves").
    """
    forms = {_regular_plural(word)}
    for singular, plural in _IRREGULAR.items():
        # Also at the end of compounds for the words where these are common: "snowman", "grandchild".
        if word == singular or (singular in ("man", "woman", "child") and word.endswith(singular)):
            forms.add(word[: len(word) - len(singular)] + plural)
    if word in _F_TO_VES or word.endswith(("leaf", "wife", "wolf", "knife", "shelf")):
        forms.add(re.sub("fe?$", "ves", word))
    if word.endswith("o"):
        forms.add(word + "es")
    if word.endswith("sis"):
        forms.add(word[:-2] + "es")
    return frozenset(forms - _NOT_PLURALS - {word})


def _regular_plural(word: str) -> str:
    if word.endswith(_CH_AS_K):
        return word + "s"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if re.search("[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def same_noun(one: str, other: str) -> bool:
    """Return whether two lower-case words are equal, or one is a plural of the other."""
    return one == other or one in plurals(other) or other in plurals(one)


# Behind Latin letters, as they are decomposed.
_ACCENTS = re.compile("(?<=[a-z])[\u0300-\u036f]+")
_WORD = re.compile(r"[^\s']+(?:'[^\s']+)*")


@lru_cache(maxsize=65536)
def words(text: str) -> tuple[str, ...]:
    """Return the words of a prompt in lower case, without accents, punctuation, possessive "'s" and articles.

    A text of nothing but articles or punctuation keeps them, so that it still equals itself.
    """
    plain = unicodedata.normalize("NFKD", text.replace("’", "'")).casefold()
    if not plain.isascii():
        # In other scripts such marks make another sound, and another word: they belong to the letter before them.
        plain = unicodedata.normalize("NFC", _ACCENTS.sub("", plain))
        plain = "".join(c if c == "'" or c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in plain)
    found = re.findall(r"[^\W_]+(?:'[^\W_]+)*", plain) if plain.isascii() else _WORD.findall(plain)
    found = [word[:-2] if word.endswith("'s") else word.replace("'", "") for word in found]
    kept = tuple(word for word in found if word and word not in _ARTICLES)
    return kept or tuple(found) or (plain.strip(),)


def names_target(prompt: str, target: str) -> bool:
    """Return whether ``prompt`` names ``target`` by its words; the module's docstring has the rules.

    ===================== ============== ===== =========================================
    prompt                target         names why
    ===================== ============== ===== =========================================
    ``The Churches``      church         yes   differs only in case, article, plural
    ``old church``        church         yes   the head is the whole target
    ``church bell``       church         no    the head is "bell"
    ``photo of a church`` church         yes   a noun phrase in it has that head
    ``church painting``   church         yes   shows the target
    ``Garbage-trucks``    garbage truck  yes   differs only in case, hyphen, plural
    ``big garbage truck`` garbage truck  yes   holds all words of the target as a unit
    ``truck``             garbage truck  no    only a part of the target
    ``lightbulb``         light bulb     yes   differs only in the space
    ``van Gogh style``    Van Gogh       yes   holds all words of the target as a unit
    ``church``            church, truck  yes   names one of the things that are listed
    ===================== ============== ===== =========================================
    """
    listed = [part for part in re.split(r"[,;\n]", target) if part.strip()]
    if len(listed) > 1 and any(names_target(prompt, part) for part in listed):
        return True
    prompt_words, target_words = words(prompt), words(target)
    if prompt_words == target_words:
        return True
    if len(target_words) > 1 and _contains(prompt_words, target_words):
        return True
    return any(_has_head(phrase, target_words) for phrase in _phrases(prompt))


def is_wider(candidate: str, target: str) -> bool:
    """Return whether the candidate means more than the target by its words alone, and the target's core is not it.

    It does if it is the head of the target, or holds a proper part of the target's words. The core of a target that
    depicts something, or is its style, is what it depicts: the target is another name of that.

    ============ ==================== ===== ==============================
    candidate    target               wider why
    ============ ==================== ===== ==============================
    ``truck``    garbage truck        yes   its head
    ``garbage``  garbage truck        yes   a proper part of it
    ``style``    van Gogh style       yes   a proper part of it
    ``van Gogh`` van Gogh style       no    its core
    ``church``   photo of a church    no    its core
    ``lorry``    garbage truck        no    another word
    ============ ==================== ===== ==============================
    """
    if names_target(candidate, target) or _same_words(words(candidate), _core(target)):
        return False
    own = words(target)
    some = [word for word in words(candidate) if any(same_noun(word, other) for other in own)]
    return names_target(target, candidate) or (0 < len(some) == len(words(candidate)) < len(own))


def _core(target: str) -> tuple[str, ...]:
    """Return the words of the target without those that say that it is depicted, or in which style.

    "photo of", "in the style of" and "oil painting by" at the beginning, "style" at the end.
    """
    own = words(target)
    while len(own) > 1 and _is_depiction(own[-1]):
        own = own[:-1]
    start = 0
    for i, word in enumerate(own[:-1]):
        if word in _PHRASE_BREAKS:
            if i > start and not _is_depiction(own[i - 1]):
                break
            start = i + 1
    return own[start:]


def _is_depiction(word: str) -> bool:
    return any(same_noun(word, noun) for noun in _DEPICTIONS)


def _contains(prompt_words: tuple[str, ...], target_words: tuple[str, ...]) -> bool:
    length = len(target_words)
    return any(
        _same_words(prompt_words[start : start + length], target_words)
        for start in range(len(prompt_words) - length + 1)
    )


def _phrases(prompt: str) -> list[tuple[str, ...]]:
    """Split into noun phrases, roughly: at punctuation that ends a phrase, prepositions and conjunctions."""
    phrases: list[tuple[str, ...]] = []
    for part in re.split(r"[,;:.!?()\[\]|/]+", prompt):
        phrase: list[str] = []
        for word in words(part):
            if word in _PHRASE_BREAKS:
                phrases.append(tuple(phrase))
                phrase = []
            else:
                phrase.append(word)
        phrases.append(tuple(phrase))
    return [phrase for phrase in phrases if phrase]


def _has_head(phrase: tuple[str, ...], target_words: tuple[str, ...]) -> bool:
    """Return whether the target is the head of the phrase, or of what the phrase depicts."""
    if _ends_with(phrase, target_words):
        return True
    while len(phrase) > 1 and any(same_noun(phrase[-1], noun) for noun in _DEPICTIONS):
        phrase = phrase[:-1]
        if _ends_with(phrase, target_words):
            return True
    return False


def _ends_with(phrase: tuple[str, ...], target_words: tuple[str, ...]) -> bool:
    """Return whether the phrase ends with the target, whose words may be written together or apart."""
    joined = "".join(target_words)
    return any(same_noun("".join(phrase[start:]), joined) for start in range(len(phrase))) or (
        _same_words(phrase[-len(target_words) :], target_words)
    )


def _same_words(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return len(some) == len(others) and all(map(same_noun, some, others))
