"""What it costs to tell which hostile wordings a model understands. Needs no torch."""

from __future__ import annotations

from erasure.concepts.hostile_wordings import MOST
from erasure.concepts.row_count import NOISES, ROWS_OF_A_CALL, STEPS
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.rows import Rows

# Noisy latents on which a wording is compared with the target.
STATES = 2


def understood_rows(config: EraseConfig) -> Rows:
    """Return the most rows for all targets: each has fewer wordings than :data:`MOST` if it has few names."""
    if config.robust != "words":
        return Rows()
    steps = int((STATES - 0.5) * STEPS / STATES) + 1
    each = 1 if config.sampling_guidance == 1 else 2
    rest = bool(fill(config.templates[0], ""))
    compared = MOST * STATES
    calls = steps + 2 + rest + -(-compared // ROWS_OF_A_CALL)
    return Rows(NOISES * each * steps + (2 + rest) * STATES + compared, calls=calls) * len(config.erase)
