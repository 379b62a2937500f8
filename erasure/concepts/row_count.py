"""Forecasts the U-Net rows for building the concept space, without torch."""

from __future__ import annotations

import math

from erasure.config.settings import EraseConfig
from erasure.judge.judge_settings import JUDGE_SETTINGS, QUERIES_AT_ONCE
from erasure.model.rows import Rows

NOISES = 2  # from which a target is sampled
STEPS = 10  # of this sampling
ROWS_OF_A_CALL = 32
# Share of candidates that are near enough to be compared on more states, after 1, 2, 4 and so on: the most measured for
# a target on emoji-SD, and the mean on emoji-SDXL.
_NEAR = (0.35, 0.16, 0.08)
# The same where all that says something of a target is wanted, the mean on emoji-SDXL.
_NEAR_ALONG = (0.7, 0.4, 0.3)
# Pictures that are judged: of each word, and of no concept. Unrelated words have one each.
PICTURES, EMPTY_PICTURES, UNRELATED = 2, 2, 4
# Pictures of a target that make its scale: as many as a verdict judges, so that both find the same; without one, as
# many as looks know.
SCALE_PICTURES, LOOK_SCALE_PICTURES = 8, 6
# Words near all targets together that are judged, at most.
NEAR = 20
# Words near each target from which a defence asks whether the target comes back, at most: the likest by s(c).
LIKEST = 6
# Share of candidates that s(c) takes for synonyms, so that they are drawn and judged: the most measured on emoji-SD.
_LIKE = 0.06


def synonym_rows(config: EraseConfig, neighbours: int | None = None) -> Rows:
    """Return the expected rows for all targets. ``neighbours``: the real number of candidates, if it is known.

    Exact are the sampling of each target and the first look at each of its candidates. How many candidates need the
    other states, and how many are judged, is expected from what was measured.
    """
    candidates = config.neighbours if neighbours is None else neighbours
    return _compared_rows(config, candidates) + judged_rows(config, candidates)


def _compared_rows(config: EraseConfig, candidates: int) -> Rows:
    if not config.synonym_threshold:
        return Rows()
    states, each = config.synonym_states, 1 if config.sampling_guidance == 1 else 2
    # The last state lies at (states - 1/2) / states of the way; sampling stops there.
    steps = int((states - 0.5) * STEPS / states) + 1
    rows = Rows(NOISES * each * steps + 2 * states, calls=steps + 2)
    seen, shares = 0, _NEAR_ALONG if has_along(config) else _NEAR
    for part, until in enumerate(stages(states)):
        share = shares[min(part, len(shares)) - 1] if part else 1.0
        compared = candidates * share * (until - seen)
        rows += Rows(compared, calls=-(-compared // ROWS_OF_A_CALL))
        seen = until
    return rows * len(config.erase)


def stages(states: int) -> list[int]:
    """Return how many of the states a candidate was compared on after each stage: 1, 2, 4 and so on, and all."""
    return [*(2**n for n in range((states - 1).bit_length())), states]


def judged_near(config: EraseConfig) -> int:
    """Return how many words near each target are judged with the concept space, the nearest first.

    An equal share of ``judged_words``, at most of :data:`NEAR`, and at least one.
    """
    most = min(config.judged_words, NEAR)
    return max(1, most // len(config.erase)) if most else 0


def judged_rows(config: EraseConfig, candidates: int) -> Rows:
    """Return the rows for judging what s(c) takes for synonyms, as many as are expected, and for the targets' scales.

    With a verdict, the scales and the nearest words are judged for it, and their rows are the verdict's.
    """
    if not config.synonym_threshold:
        return Rows()
    targets, others = len(config.erase), EMPTY_PICTURES + UNRELATED
    like = math.ceil(_LIKE * candidates) * targets
    # Each word is asked about in its target's pictures, and in its own about itself and the target.
    rows = JUDGE_SETTINGS.rows(like * PICTURES, 3 * like * PICTURES)
    if config.judged_words:
        return rows
    own = scale_pictures(config)
    rows += JUDGE_SETTINGS.rows(targets * own + others, targets * (own + others))
    # All targets are asked about at once, and share what is predicted without any.
    spared = (targets - math.ceil(targets / QUERIES_AT_ONCE)) * others * len(JUDGE_SETTINGS.timesteps)
    return rows + Rows(-spared)


def scale_pictures(config: EraseConfig) -> int:
    """Return how many pictures of each target make its scale."""
    return SCALE_PICTURES if config.judged_words else LOOK_SCALE_PICTURES


def along_rows(config: EraseConfig) -> Rows:
    """Return the rows, at most, for judging which near words go along so that an erasure holds against them."""
    if not has_along(config):
        return Rows()
    pictures = LIKEST * PICTURES
    return JUDGE_SETTINGS.rows(pictures, pictures) * len(config.erase)


def has_along(config: EraseConfig) -> bool:
    """Whether near words from which a target comes back go along with it."""
    return config.robust == "words" and config.erase_synonyms and config.synonym_threshold > 0
