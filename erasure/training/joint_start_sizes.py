"""How much a start from several LoRAs looks at, and what it takes. Needs no torch."""

from __future__ import annotations

from erasure.config.settings import EraseConfig
from erasure.model.rows import Rows
from erasure.training.closed_start_sizes import BATCH, EMPTY

# Words that are to stay as they are, of which pictures are begun: the nearest of the targets, and some far from all.
NEAR_WORDS, FAR_WORDS = 10, 15
# And those whose reading by the values of cross-attention is looked at, which takes a row each.
NEAR_READ, FAR_READ = 40, 40
# Templates in which a target is read, and other names of it, each in one of them.
TEMPLATES, NAMES = 2, 2


def near_read_each(targets: int) -> int:
    """Return how many of the nearest words of each target are read."""
    return max(1, NEAR_READ // targets)


def start_rows(config: EraseConfig, parents: int) -> Rows:
    """Return the rows for a start from so many LoRAs, at most: a target of each, and words to preserve."""
    if not parents:
        return Rows()
    targets = max(parents, len(config.erase))
    prompts = targets + NEAR_WORDS + FAR_WORDS
    sampled = Rows(prompts * config.sampling_steps, calls=(parents + 1) * config.sampling_steps)
    own = targets * (min(TEMPLATES, len(config.templates)) + NAMES)
    kinds = (near_read_each(targets) * targets + len(config.preserve), FAR_READ, EMPTY)
    calls = sum(-(-kind // BATCH) for kind in kinds) + own // BATCH + parents  # those of each LoRA apart
    return sampled + Rows(own + sum(kinds), calls=calls)
