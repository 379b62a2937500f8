"""What a run will ask of the model, known before it starts: U-Net rows by purpose, and prompts. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from erasure.concepts.hostile_wordings import MOST
from erasure.concepts.row_count import along_rows, synonym_rows
from erasure.concepts.understood_sizes import understood_rows
from erasure.config.settings import EraseConfig
from erasure.judge.judge_settings import JUDGE_SETTINGS
from erasure.model.draw_settings import DRAW_SETTINGS
from erasure.model.rows import RowBook, Rows
from erasure.training.closed_start_sizes import (
    ROUNDS,
    STRENGTHS,
    closed_start_rows,
    strengthening_rows,
)
from erasure.training.defence.sizes import FIRST_LOOK, SECOND_LOOK
from erasure.training.look_sizes import (
    NEAR_WORDS,
    fewest_updates_between,
    first_look,
    second_look,
    updates_before_look,
)
from erasure.training.row_count import rows_per_update
from erasure.training.text_start_sizes import TEXT_STRENGTHS, has_edit, has_text_start
from erasure.verdict.panel import LOOK_SIZES, PANEL_SIZES, PanelSizes, near_words

# How many subjects the pictures show at most: erased concepts, preserved ones, and the nearest neighbours of the first
# target. One more is far from it.
ERASED_SHOWN, PRESERVED_SHOWN, NEAR_SHOWN = 5, 2, 2
# And the word that the verdict finds hurt most.
HURT_SHOWN = 1
# Looks at the start that are usual: at the edit as a whole, at names, and once more.
EXPECTED = len(STRENGTHS) + 2
# Each prompt is drawn with these seeds, before and after.
SEEDS = (1, 2)


def forecast_rows(config: EraseConfig, sizes: tuple[int, ...] = (), updates: int | None = None) -> RowBook:
    """Return the rows that a whole run takes at most. ``sizes``: K per target, if they are known.

    A run that looks ends earlier if all is gone earlier. ``updates``: how many it makes, see :func:`soonest_end`; None:
    as many as it may, with as many looks as there can be.
    """
    made = config.updates if updates is None else min(updates, config.updates)
    neighbours = sizes[0] if sizes else config.neighbours
    prompts = min(ERASED_SHOWN, len(config.erase)) + min(PRESERVED_SHOWN, len(config.preserve))
    prompts += min(NEAR_SHOWN, neighbours) + (neighbours > NEAR_SHOWN)
    # Before, after and in between. The last update is no preview: its pictures are those from after.
    drawings = 2 + ((made - 1) // config.preview_every if config.preview_every else 0)
    # Before and after, at most in calls of their own: only the verdict tells which word it is.
    hurt = DRAW_SETTINGS.rows(HURT_SHOWN * len(SEEDS)) * 2 if config.judged_words else Rows()
    return RowBook(
        {
            "synonyms": synonym_rows(config),
            **({"hostile": understood_rows(config) + along_rows(config)} if config.robust == "words" else {}),
            "start": closed_start_rows(config, sizes) + strengthening_rows(config, _names_on_panel(config)),
            "training": rows_per_update(config, sizes) * made,
            "pictures": DRAW_SETTINGS.rows(prompts * len(SEEDS)) * drawings + hurt,
            "check": DRAW_SETTINGS.rows(1),
            "verdict": _verdict_rows(config, neighbours),
            "looks": _look_rows(config, neighbours, made, EXPECTED if updates is not None else None),
        }
    )


def soonest_end(config: EraseConfig) -> int:
    """Return after how many updates a run ends if the very first looks find everything gone."""
    if not config.look_every:
        return config.updates
    return min(config.updates, updates_before_look(config.look_every, len(config.erase), has_edit(config)))


def _panel(config: EraseConfig, neighbours: int) -> tuple[PanelSizes, int, int]:
    """Return the sizes of the panel, and how many targets and near words are on it, each counted for every target."""
    sizes, targets = PANEL_SIZES if config.judged_words else LOOK_SIZES, len(config.erase)
    sizes = replace(sizes, near=config.judged_words)
    return sizes, targets, near_words(sizes, targets, neighbours) * targets + len(config.preserve)


def _verdict_rows(config: EraseConfig, neighbours: int) -> Rows:
    """Return the rows for judging before and after, if as many other names are found as are judged at most."""
    if not (config.judged_words or config.look_every):
        return Rows()
    sizes, targets, near = _panel(config, neighbours)
    other = sizes.unrelated * sizes.unrelated_pictures
    members = targets * sizes.target_pictures + near * sizes.near_pictures + other
    members += _names_on_panel(config) * targets * sizes.name_pictures
    as_target = near * sizes.near_pictures + (other + sizes.empty_pictures) * targets
    before = JUDGE_SETTINGS.rows(members + sizes.empty_pictures, members + as_target)
    return before + JUDGE_SETTINGS.rows(members, members) if config.judged_words else before


def _look_rows(config: EraseConfig, neighbours: int, updates: int, at_start: int | None) -> Rows:
    """Return the rows of all looks if they are as close together as they can be, and each needs a second one.

    ``at_start``: the looks for finding out how strong the edit has to be; None: as many as there can be.
    """
    if not config.look_every:
        return Rows()
    _, targets, near = _panel(config, neighbours)
    names = _names_on_panel(config)

    def pictures(own: int, others: int) -> int:
        return targets * (own + min(others, names))

    def hostile(each: int) -> Rows:
        return JUDGE_SETTINGS.rows(each, each) * (targets * (config.robust != "off"))

    near_shown = min(NEAR_WORDS, near)
    first, second = first_look(targets), second_look(targets)
    rows = _judged([pictures(*first) + near_shown, pictures(*second)]) + hostile(FIRST_LOOK) + hostile(SECOND_LOOK)
    if at_start is not None and has_edit(config):
        # Samples of the edit usually stand in for the first of two looks.
        rows = _judged([pictures(second.pictures, first.names) + near_shown]) + hostile(SECOND_LOOK)
    # The most first looks: the one after the last update is one of them.
    looks = math.ceil(updates / fewest_updates_between(config.look_every, len(config.erase)))
    return rows * looks + _judged(_start_looks(config)[:at_start])


def _start_looks(config: EraseConfig) -> list[int]:
    """Return the pictures of each look for finding out how strong the edit has to be, if all are needed."""
    if not has_edit(config):
        return []
    targets = len(config.erase) * second_look(len(config.erase)).pictures
    names = len(config.erase) * _names_on_panel(config)
    strengths = TEXT_STRENGTHS if has_text_start(config) else STRENGTHS
    return [targets] * len(strengths) + [names] + [targets + names] * ROUNDS


def _judged(looks: Sequence[int]) -> Rows:
    """Return the rows for looks that draw and judge so many pictures each."""
    return sum((JUDGE_SETTINGS.rows(pictures, pictures) for pictures in looks), Rows())


def _names_on_panel(config: EraseConfig) -> int:
    """Return how many other names of each target are judged at most."""
    sizes = PANEL_SIZES if config.judged_words else LOOK_SIZES
    measured = config.erase_synonyms and config.synonym_threshold > 0
    return sizes.names if measured else min(len(config.synonym), sizes.names)


def remembered_prompts(config: EraseConfig) -> int:
    """Return about how many different prompts a run embeds: candidates in every template, if it looks at them.

    Twice as many where text encoders are edited, since each model is told something else.
    """
    looked_at = config.neighbours if config.adversary not in ("anchor", "fixed", "none") else 0
    measured = config.neighbours if config.synonym_threshold else 0
    own = 2  # the target and its anchor
    hostile = 2 * MOST if config.robust == "words" else 0  # wordings and their anchors
    models = 2 if has_text_start(config) else 1
    return models * len(config.erase) * (len(config.templates) * (looked_at + own + hostile) + measured)
