"""Forecasts the U-Net rows for measuring synonyms, without torch."""

from __future__ import annotations

from erasure.config.settings import EraseConfig
from erasure.model.rows import Rows

NOISES = 2  # from which a target is sampled
STEPS = 10  # of this sampling
FIRST_LOOK = 2  # states on which every candidate is compared
ROWS_OF_A_CALL = 32
# Share of candidates that are near enough to be compared on the other states as well, as measured on emoji-SD.
_NEAR = 0.25


def synonym_rows(config: EraseConfig, neighbours: int | None = None) -> Rows:
    """Return the expected rows for all targets. ``neighbours``: the real number of candidates, if it is known.

    Exact are the sampling of each target and the first look at each of its candidates. A quarter of the candidates are
    expected to need the other states.
    """
    if not config.synonym_threshold:
        return Rows()
    candidates = config.neighbours if neighbours is None else neighbours
    states, each = config.synonym_states, 1 if config.sampling_guidance == 1 else 2
    # The last state lies at (states - 1/2) / states of the way; sampling stops there.
    steps = int((states - 0.5) * STEPS / states) + 1
    first = candidates * min(FIRST_LOOK, states)
    later = candidates * _NEAR * max(0, states - FIRST_LOOK)
    calls = steps + 2 + -(-first // ROWS_OF_A_CALL) + -(-later // ROWS_OF_A_CALL)
    return Rows(NOISES * each * steps + 2 * states + first + later, calls=calls) * len(config.erase)
