"""What can be wrong with settings: all problems at once, one line each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from erasure.config.concept_texts import LISTS, folded
from erasure.config.methods import METHODS, method_problems
from erasure.config.prompt_length import length_problems
from erasure.config.setting import Setting
from erasure.config.template import template_problem
from erasure.errors import shown
from erasure.number_of import number_of

# Has a name because it is no problem where settings are checked before a concept is named, as in a preset.
NO_CONCEPT = "erase: name at least one concept to erase"
# A list beyond these is a mistake, or takes days: every target has a concept space of its own.
MOST_TEXTS: Mapping[str, int] = {"erase": 100, "anchor": 100, "synonym": 500, "preserve": 1000, "templates": 100}
LONGEST_TEXT = 1000  # characters; CLIP reads about 300


def setting_problems(known: Iterable[Setting], values: Mapping[str, Any]) -> list[str]:
    """Return one line per problem.

    First come settings that do not fit the method, then values out of range, concepts, and settings that contradict
    each other. ``values``: every setting with the value that is used.
    """
    oversized = _size_problems(values)
    if oversized:
        return oversized  # all else would be said of every single text
    problems = method_problems(values)
    for about in known:
        problems += _range_problems(about, values[about.name])
    return problems + _concept_problems(values) + length_problems(values) + _contradictions(values)


def _size_problems(values: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, most in MOST_TEXTS.items():
        texts = values[name]
        if len(texts) > most:
            problems.append(f"{name}: {len(texts):,} are too many; give at most {most:,}")
        longest = max(texts, key=len, default="")
        if len(longest) > LONGEST_TEXT:
            problems.append(f"{name}: {shown(longest)} has {len(longest):,} characters, more than {LONGEST_TEXT:,}")
    return problems


def _range_problems(about: Setting, value: Any) -> list[str]:
    problems = []
    if about.choices and value not in about.choices:
        problems.append(f"{about.name}: {shown(value)} is not one of {', '.join(about.choices)}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = about.low, about.high
        if isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{about.name}: {value} is not a finite number")
        elif (low is not None and value < low) or (high is not None and value > high):
            problems.append(f"{about.name}: {shown(value)} is outside {low:g} to {high:g}")
    return problems


def _concept_problems(values: Mapping[str, Any]) -> list[str]:
    erase, anchor = values["erase"], values["anchor"]
    problems = []
    if not erase:
        problems.append(NO_CONCEPT)
    for name in LISTS:
        if name != "anchor" and any(not text.strip() for text in values[name]):
            problems.append(f"{name}: one concept is empty; write a name, or leave it out")
        if any("\ud800" <= character <= "\udfff" for text in values[name] for character in text):
            problems.append(f"{name}: one concept holds half a character (a lone surrogate); write it as UTF-8 text")
    lowered = [folded(text) for text in erase]
    for text in sorted({text for text in lowered if lowered.count(text) > 1}):
        problems.append(f"erase: {text!r} is named twice")
    if erase and len(anchor) > 1 and len(anchor) != len(erase):
        problems.append(
            f"anchor: {len(anchor)} anchors for {number_of(len(erase), 'concept')}; give none, one, or one per concept "
            "(in quotation marks a text is one, with its commas)"
        )
    gone = set(lowered) | {folded(text) for text in values["synonym"]}
    for text in values["preserve"]:
        if folded(text) in gone:
            problems.append(f"preserve: {text!r} is also to be erased; it cannot be both")
    for text, turned in zip(lowered, anchor * len(erase) if len(anchor) == 1 else anchor, strict=False):
        if folded(turned) == text:
            problems.append(f"anchor: {turned!r} is the concept itself, so nothing would change; name another anchor")
    synonyms = set(map(folded, values["synonym"]))
    for turned in dict.fromkeys(anchor):
        if folded(turned) in synonyms:
            problems.append(f"anchor: {turned!r} is a synonym that is to be erased as well; name another anchor")
    problems += [f"templates: {problem}" for problem in map(template_problem, values["templates"]) if problem]
    if not values["templates"]:
        problems.append('templates: give at least one, such as "{}" for the concept alone')
    return problems


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    problems = []
    vocabulary, file, adversary = values["vocabulary"], values["vocabulary_file"], values["adversary"]
    if vocabulary == "file" and not file:
        problems.append("vocabulary_file: needed, because vocabulary is 'file'; name a text file")
    if vocabulary != "file" and file:
        problems.append(f"vocabulary_file: has no effect while vocabulary is {vocabulary!r}; set vocabulary to 'file'")
    for setting, value, others in (("latents", "pictures", "replay or fresh"), ("adversary", "whole", "gumbel or pgd")):
        fitting = [name for name, about in METHODS.items() if value in about.decides.get(setting, ())]
        if values[setting] == value and values["method"] not in fitting:
            problems.append(f"{setting}: {value!r} is only for methods {', '.join(fitting)}; choose {others}")
    if values["resolution"] % 64:
        problems.append(f"resolution: {values['resolution']} is not a multiple of 64")
    if adversary in ("gumbel", "pgd", "rerank") and values["search_steps"] < 1:
        problems.append(f"search_steps: the {adversary} adversary needs at least 1; or set adversary to 'uniform'")
    return problems
