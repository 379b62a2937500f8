"""How much a start from several LoRAs looks at, and what it takes. Needs no torch."""

from __future__ import annotations

from erasure.config.settings import EraseConfig
from erasure.model.rows import Rows

# Words that are to stay as they are, of which pictures are begun: the nearest of the targets, and some far from all.
NEAR_WORDS, FAR_WORDS = 10, 30


def start_rows(config: EraseConfig, parents: int) -> Rows:
    """Return the rows of sampling for a start from so many LoRAs, at most: a target of each, and words to preserve."""
    if not parents:
        return Rows()
    prompts = max(parents, len(config.erase)) + NEAR_WORDS + FAR_WORDS
    return Rows(prompts * config.sampling_steps, calls=(parents + 1) * config.sampling_steps)
