"""What can be wrong with a config: every problem in one line, all at once."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING

from erasure.config.template import template_problem

if TYPE_CHECKING:
    from erasure.config.settings import EraseConfig


def config_problems(config: EraseConfig) -> list[str]:
    """One line per problem: values out of range first, then concepts, then settings that contradict each other."""
    problems = []
    for f in fields(config):
        value, allowed = getattr(config, f.name), f.metadata
        if allowed["choices"] is not None and value not in allowed["choices"]:
            problems.append(f"{f.name}: {value!r} is not one of {', '.join(allowed['choices'])}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = allowed["low"], allowed["high"]
            if not math.isfinite(value):
                problems.append(f"{f.name}: {value} is not a finite number")
            elif (low is not None and value < low) or (high is not None and value > high):
                problems.append(f"{f.name}: {value} is outside {low:g} to {high:g}")
    return problems + _concept_problems(config) + _contradictions(config)


def _concept_problems(config: EraseConfig) -> list[str]:
    problems = []
    if not config.erase:
        problems.append("erase: name at least one concept to erase")
    for name in ("erase", "synonym", "preserve"):
        if any(not text.strip() for text in getattr(config, name)):
            problems.append(f"{name}: an empty concept; leave it out or write what it is")
    lowered = [text.strip().lower() for text in config.erase]
    for text in sorted({text for text in lowered if lowered.count(text) > 1}):
        problems.append(f"erase: {text!r} is named twice")
    if len(config.anchor) > 1 and len(config.anchor) != len(config.erase):
        problems.append(
            f"anchor: {len(config.anchor)} anchors for {len(config.erase)} concepts; give none, one, or one per concept"
        )
    gone = set(lowered) | {text.strip().lower() for text in config.synonym}
    for text in config.preserve:
        if text.strip().lower() in gone:
            problems.append(f"preserve: {text!r} is to be erased as well; it cannot be both")
    for text, anchor in zip(lowered, config.anchors, strict=False):
        if anchor.strip().lower() == text:
            problems.append(f"anchor: {anchor!r} is its own concept; it would stay as it is")
    problems += [f"templates: {problem}" for problem in map(template_problem, config.templates) if problem]
    if not config.templates:
        problems.append('templates: give at least one, "{}" for the bare concept')
    return problems


def _contradictions(config: EraseConfig) -> list[str]:
    problems = []
    if config.vocabulary == "file" and not config.vocabulary_file:
        problems.append("vocabulary_file: needed when vocabulary is 'file'")
    if config.vocabulary != "file" and config.vocabulary_file:
        problems.append(f"vocabulary_file: given, but vocabulary is {config.vocabulary!r}; set it to 'file'")
    if config.latents == "pictures" and config.method != "concept-ablation":
        problems.append("latents: 'pictures' belongs to method concept-ablation; choose replay or fresh")
    if config.adversary == "whole" and config.method != "uce":
        problems.append("adversary: 'whole' belongs to method uce; choose gumbel, pgd or uniform")
    if config.resolution % 64:
        problems.append(f"resolution: {config.resolution} is not a multiple of 64")
    if config.adversary in ("gumbel", "pgd", "rerank") and config.search_steps < 1:
        problems.append(f"search_steps: the {config.adversary} search needs at least 1; or set adversary to 'uniform'")
    return problems
