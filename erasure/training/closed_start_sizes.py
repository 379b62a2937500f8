"""How much the closed form that training starts from looks at, and what it takes. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.rows import Rows

# Other names of each target.
MOST_NAMES = 8
# The nearest words of each target, at most so many of all together, and words spread over the vocabulary.
NEAR_WORDS, MOST_NEAR_WORDS, FAR_WORDS = 25, 60, 60
# Prompts that say nothing.
EMPTY = 2
# Words that a target, in each template, and another name of it become the average of, if they turn into nothing.
ANCHOR_WORDS = 4
# Other wordings of each target that a defence knows, at most so many of all together.
MOST_WORDINGS, MOST_WORDINGS_OF_ALL = 12, 40
# How many times as strong the whole edit is made, in turn, until the targets are hardly seen. Stronger than the last of
# them it is made only for targets that are still seen, in so many rounds: as a whole, that costs what is to stay.
STRENGTHS = (1.0, 1.25, 1.5)
ROUNDS = 3
# Prompts that tell which blocks of the U-Net carry what is erased: each target in each template, on several noises if
# those are few, and some of them if they are many.
FEWEST_PROMPTS, MOST_PROMPTS = 9, 15
# Blocks with attention: so many of SD 1.x and SD 2.x, fewer of SDXL.
MOST_BLOCKS = 7
# Rows that are watched together.
BATCH = 4
# Choices of layers that have values of cross-attention: those that read prompts.
READ_PROMPTS = ("xattn", "xattn_kv", "xattn_v", "full")


def of_each(targets: int, most: int, of_all: int) -> int:
    """Return how many of something to take of each target: at most ``most``, and of all together ``of_all``."""
    return min(most, max(1, of_all // targets))


def near_words_each(targets: int) -> int:
    """Return how many of the nearest words of each target are preserved."""
    return of_each(targets, NEAR_WORDS, MOST_NEAR_WORDS)


def wordings_each(targets: int) -> int:
    """Return how many other wordings of each target are erased, if a defence knows some."""
    return of_each(targets, MOST_WORDINGS, MOST_WORDINGS_OF_ALL)


def prompts_for_blocks(config: EraseConfig) -> int:
    """Return how many prompts tell which blocks of the U-Net carry what is erased."""
    all_once = len(config.erase) * len(config.templates)
    return min(MOST_PROMPTS, all_once * -(-FEWEST_PROMPTS // all_once))


def has_closed_start(config: EraseConfig) -> bool:
    """Whether training starts from the closed form."""
    return config.start == "closed-form" and config.layers in READ_PROMPTS


def closed_start_rows(config: EraseConfig, sizes: Sequence[int] = ()) -> Rows:
    """Return the rows that the closed form takes, at most. ``sizes``: K per target, if known."""
    if not has_closed_start(config):
        return Rows()
    targets = len(config.erase)
    names = MOST_NAMES if config.erase_synonyms and config.synonym_threshold else min(MOST_NAMES, len(config.synonym))
    pairs = sum(_anchors(template, anchor) for anchor in config.anchors for template in config.templates)
    pairs += names * sum(_most_anchors(config, anchor) for anchor in config.anchors)
    wordings = targets * wordings_each(targets) * ANCHOR_WORDS if config.robust == "words" else 0
    near = sum(min(near_words_each(targets), k) for k in sizes or [config.neighbours] * targets) + len(config.preserve)
    calls = sum(-(-read // (BATCH // 2)) for read in (pairs, wordings))
    calls += sum(-(-prompts // BATCH) for prompts in (near, FAR_WORDS, EMPTY))
    for_blocks = prompts_for_blocks(config) * (2 + MOST_BLOCKS)
    return Rows(2 * (pairs + wordings) + near + FAR_WORDS + EMPTY + for_blocks, calls=calls + 1 + MOST_BLOCKS)


def strengthening_rows(config: EraseConfig, names: int) -> Rows:
    """Return the rows of the frozen model for making the closed form stronger part by part, at most.

    ``names``: other names of each target that are looked at.
    """
    if not (has_closed_start(config) and config.look_every):
        return Rows()
    # In one round a target is read once more in every template, or each of its names in one.
    most = max(len(config.templates), names)
    pairs = most * sum(_most_anchors(config, anchor) for anchor in config.anchors)
    return Rows(2 * pairs, calls=-(-pairs // (BATCH // 2)) + 1) * ROUNDS


def _most_anchors(config: EraseConfig, anchor: str) -> int:
    """Return the most prompts that stand for an anchor in any template."""
    return max(_anchors(template, anchor) for template in config.templates)


def _anchors(template: str, anchor: str) -> int:
    """Return the most prompts that stand for an anchor in a template."""
    return 1 if fill(template, anchor) else ANCHOR_WORDS
