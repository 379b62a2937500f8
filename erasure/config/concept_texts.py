"""How people write concepts: several in one text, quotation marks, and the prompt syntax of web UIs.

Command line, JSON, HTTP API and page are all read by :func:`read_lists`. In one text, commas, semicolons, line breaks
and the word "and" separate concepts; what stands in quotation marks is one concept, exactly as it is written. Brackets
and weights of web UIs mean nothing to a text encoder: they are taken away where it is clear what is left, and refused
where it is not. Settings that were *asked for* are written this way, those that are *used* hold one concept per text.

The syntax: AUTOMATIC1111's wiki, "Features", "Attention/emphasis", "Prompt editing", "Alternating Words", "Composable
Diffusion" and "Infinite prompt length"; ComfyUI's for ``embedding:``, that of the Dynamic Prompts extension for
``__name__`` and ``{a|b}``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

LISTS = ("erase", "anchor", "synonym", "preserve")
"""The settings whose texts are read here. Of anchors, empty ones among others count: they stand for "nothing"."""

_LONGEST_SHOWN = 60
# As they open in English, French, German, Swedish and Japanese.
_QUOTES = ('"', "“", "«", "„", "”", "»", "「")
# Also as they are written in Chinese, Japanese and Arabic.
_SEPARATORS = ",;\n\r，、；،"
# A comma at the end of a line is one separator with the line break.
_SPLIT = re.compile(r"(?:[,;，、；،][^\S\n\r]*)?(?:\r\n|[\n\r])|[,;，、；،]")
_AND = re.compile(r"(?:^|(?<=\s))(?:and|And|AND)(?=\s|$)")
_SPLIT_OR_AND = re.compile(f"{_SPLIT.pattern}|{_AND.pattern}")
# White space in front, but no line breaks: to look past all of them from each one would take forever.
_QUOTED = re.compile(
    r"""[^\S\n\r]*("(?:[^"]|"")*"|“[^”]*”|„[^“”]*[“”]|”[^”]*”|«[^»]*»|»[^«]*«|「[^」]*」)"""
    rf"""\s*({_SPLIT.pattern}|(?=(?:and|And|AND)(?:\s|$))|$)"""
)

_NETWORK = re.compile(r"<[^<>:]*:[^<>]*>")
_WEIGHT_IN_BRACKETS = re.compile(r":\s*[-+]?(?:\d+(?:\.\d*)?|\.\d+)\s*(?=\))")
_WEIGHT_AT_END = re.compile(r"(?<=[^\W\d])(?:\s?:\s?[-+]?\d*\.\d+|:[-+]?\d)$")
_ESCAPED = re.compile(r"\\([()\[\]{}])")
# Characters that show nothing, such as marks of the direction of writing, but for those at the end of emoji of flags.
_INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}
_TAGS = range(0xE0020, 0xE0080)
_BRACKETS = str.maketrans("", "", "()[]{}")
_BREAK_AT_END = re.compile(r"^BREAK(?=\s)|(?<=\s)BREAK$")
# (what is found, why that cannot be a concept)
_REFUSED = (
    (re.compile(r"\|"), "'|' alternates between texts while a picture is drawn, and a concept is one text"),
    (re.compile(r"\[[^\[\]:]*:"), "[a:b:0.5] changes the text while a picture is drawn, and a concept is one text"),
    (re.compile(r"\bembedding:", re.IGNORECASE), "embeddings are not loaded here; write in words what it stands for"),
    (re.compile(r"__[\w/*-]+__"), "a wildcard stands for other texts; write the concept that is meant"),
    (re.compile(r"(?:^|(?<=\s))BREAK(?=\s|$)"), "BREAK parts a prompt in two; write two concepts, with a comma"),
)


@dataclass(frozen=True)
class ReadLists:
    """``values``: the settings, those of :data:`LISTS` with one concept per text.

    ``notes``: what was taken differently from how it is written, and ``problems``: what cannot be read, one line each.
    """

    values: dict[str, Any]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def read_lists(asked: Mapping[str, Any]) -> ReadLists:
    """Read those settings that hold concepts, one text or several; all others, and values of other types, stay."""
    values, notes, problems = dict(asked), [], []
    for name in LISTS:
        given = asked.get(name)
        given = (given,) if isinstance(given, str) else given
        if not _is_texts(given):
            continue
        found: list[str] = []
        for written in given:
            texts, said, refused = _read(written, keep_empty=name == "anchor")
            found += texts
            notes += [f"{name}: {line}" for line in said]
            problems += [f"{name}: {line}" for line in refused]
        values[name] = tuple(found)
    return ReadLists(values, tuple(notes), tuple(problems))


def read_texts(written: str | None) -> list[str]:
    """Return the concepts in one text; none for one without any."""
    return _read(written)[0] if written and written.strip() else []


def written(text: str) -> str:
    """Return a concept so that it is read as this one concept: in quotation marks if it has to be."""
    # A mark inside a text is read as it is, but two such texts side by side would be read as one in quotation marks.
    if '"' not in text and _read(text) == ([text], [], []):
        return text
    return '"' + text.replace('"', '""') + '"'


def folded(text: str) -> str:
    """Return a text that is the same for two concepts that a text encoder reads alike, to compare them.

    CLIP's tokenizer composes accents and reads neither case nor how much white space there is.
    """
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def join_texts(texts: Iterable[str]) -> str:
    """Return one text that is read as these concepts."""
    return ", ".join(map(written, texts))


def as_written(used: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they must be asked for to be used like this. Values of other types stay."""
    return {
        name: [written(text) for text in value] if name in LISTS and _is_texts(value) else value
        for name, value in used.items()
    }


def _is_texts(value: Any) -> TypeGuard[Sequence[str]]:
    return isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value)


def _read(given: str, *, keep_empty: bool = False) -> tuple[list[str], list[str], list[str]]:
    """Return the concepts in a text, notes and problems. An empty text is one empty concept."""
    if not given.strip():
        return [""], [], []
    texts: list[str] = []
    refused: list[str] = []
    changed = by_and = False
    for part, quoted in _quoted_apart(given):
        if quoted:
            texts.append(_stripped(part))
            continue
        plain, stripped, why = _without_syntax(part)
        pieces, several = _pieces(plain, keep_empty=keep_empty)
        bare = [_WEIGHT_AT_END.sub("", piece) for piece in pieces]
        stripped = stripped or bare != pieces
        if any(piece[:1] in _QUOTES for piece in bare) or sum(piece.count('"') % 2 for piece in bare) > 1:
            why.append("a quotation mark is not closed, or text stands right behind it")
        elif stripped and not any(map(str.isalnum, plain)):
            why.append("without web UI syntax it names nothing")
        texts += map(_unmasked, bare)
        refused += why
        changed, by_and = changed or stripped, by_and or several
    if refused:
        return [text for text in texts if text], [], [f"{_shown(given)}: {refused[0]}"]
    if not any(texts):
        return ([""], [], []) if keep_empty else ([], [], [f"{_shown(given)} names no concept"])
    if changed:
        notes = [
            f"{_shown(given)} is read as {_listed(texts)}; brackets, weights and <...> of web UIs mean nothing here"
        ]
    elif by_and:
        notes = [f"{_shown(given)} is read as {_listed(texts)}; in quotation marks it is one concept"]
    else:
        notes = []
    return texts, notes, []


def _quoted_apart(given: str) -> list[tuple[str, bool]]:
    """Return the parts of a text in their order, each with whether it stood in quotation marks.

    Marks count at the beginning of a concept, and only if the concept ends with them: 12" record is a text like others.
    A mark that is written twice stands for itself, as in CSV files.
    """
    parts: list[tuple[str, bool]] = []
    start, at, again = 0, 0, False  # of the part without marks, and of the concept that is looked at
    while at < len(given):
        quoted = _QUOTED.match(given, at)
        if quoted:
            before = given[start:at]
            if before.strip():
                parts.append((_without_last_separator(before), False))
            mark = quoted[1][0]
            parts.append((quoted[1][1:-1].replace(mark * 2, mark), True))
            start = at = quoted.end()
            again = quoted[2] != ""
            continue
        following = _SPLIT_OR_AND.search(given, at)
        at = following.end() if following else len(given)
    # A separator at the end is followed by an empty anchor.
    if given[start:].strip() or (again and start == len(given)):
        parts.append((given[start:], False))
    return parts


def _without_last_separator(part: str) -> str:
    """The separator before a concept in quotation marks is not followed by an empty one."""
    part = part.rstrip()
    return part[:-1] if part[-1] in _SEPARATORS else part


def _without_syntax(part: str) -> tuple[str, bool, list[str]]:
    """Return the text without the syntax of web UIs, whether that changed it, and why it must be refused, if so.

    Brackets that are escaped, as web UIs write those that belong to the text, are masked until the end.
    """
    masked = _ESCAPED.sub(lambda found: chr(_MASK + ord(found[1])), part).strip()
    text = _BREAK_AT_END.sub("", masked)
    refused = [why for pattern, why in _REFUSED if pattern.search(text)]
    text = _NETWORK.sub(" ", text)
    text = _WEIGHT_IN_BRACKETS.sub("", text).translate(_BRACKETS)
    changed = text.strip() != masked
    # Only line breaks separate; other runs of white space are what brackets leave behind.
    return re.sub(r"[^\S\n\r]+", " ", text).strip(" ") if changed else text, changed, refused


_MASK = 0xE000  # a private area of Unicode


def _unmasked(text: str) -> str:
    return re.sub("[\ue028-\ue07d]", lambda found: chr(ord(found[0]) - _MASK), text)


def _pieces(text: str, *, keep_empty: bool) -> tuple[list[str], bool]:
    """Return the concepts between separators, and whether the word "and" separated some."""
    pieces: list[str] = []
    by_and = False
    for between in _SPLIT.split(text):
        found = [_stripped(piece) for piece in _AND.split(between)]
        some = [piece for piece in found if piece]
        by_and = by_and or len(some) > 1
        pieces += some or ([""] if keep_empty else [])
    return pieces, by_and


def _stripped(text: str) -> str:
    """Return the text without what nobody sees at its ends; inside, such characters may join an emoji."""
    start, end = 0, len(text)
    while start < end and _invisible(text[start]):
        start += 1
    while start < end and _invisible(text[end - 1]):
        end -= 1
    return text[start:end]


def _invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE and ord(character) not in _TAGS


def _listed(texts: Sequence[str]) -> str:
    some = [text for text in texts if text]
    names = ", ".join(map(repr, some)) or "nothing"
    return f"{len(some)} concepts: {names}" if len(some) > 1 else names


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "...")
