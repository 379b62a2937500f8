"""U-Net rows of measuring synonyms before it is done, without torch."""

from __future__ import annotations

from erasure.config.settings import EraseConfig
from erasure.model.rows import Rows

NOISES = 2  # that a target is sampled from
STEPS = 10  # of that sampling
FIRST_LOOK = 2  # states on which every candidate is compared
ROWS_OF_A_CALL = 32
# Share of the candidates that come near enough to be compared on the other states as well, as seen on emoji-SD.
_NEAR = 0.25


def synonym_rows(config: EraseConfig, neighbours: int | None = None) -> Rows:
    """Expected for all targets. ``neighbours``: as many candidates as there really are, where that is known.

    Every target's own sampling and every candidate's first look are certain, as far as the targets' candidates differ;
    what comes after is expected to be asked for a quarter of them.
    """
    if not config.synonym_threshold:
        return Rows()
    candidates = config.neighbours if neighbours is None else neighbours
    states, each = config.synonym_states, 1 if config.sampling_guidance == 1 else 2
    # The last state is looked at is (states - 1/2) / states of the way; sampling goes no further than that.
    steps = int((states - 0.5) * STEPS / states) + 1
    first = candidates * min(FIRST_LOOK, states)
    later = candidates * _NEAR * max(0, states - FIRST_LOOK)
    calls = steps + 2 + -(-first // ROWS_OF_A_CALL) + -(-later // ROWS_OF_A_CALL)
    return Rows(NOISES * each * steps + 2 * states + first + later, calls=calls) * len(config.erase)
