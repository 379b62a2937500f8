"""How much the edit of the text encoders that training starts from looks at. Needs no torch."""

from __future__ import annotations

from erasure.config.settings import EraseConfig
from erasure.training.closed_start_sizes import READ_PROMPTS, ROUNDS, has_closed_start

# Steps of the first training of the edit, for one target and for every further one, and at most; of each later one,
# which goes on from there; and of one with other wordings, which are many.
FIRST_STEPS, STEPS_PER_TARGET, MOST_STEPS, MORE_STEPS, WORDING_STEPS = 300, 50, 800, 100, 300
# How many times as strong the edit is made, in turn: farther than its goal, since what is to stay holds it back; that
# costs what is to stay hardly anything.
TEXT_STRENGTHS = (1.4, 1.6)
# Learning rates that are tried, and for how many steps; the one whose last few lead to the least loss is used.
RATES, TRIED_STEPS, TRIED_LAST = (8e-3, 4e-3, 2e-3, 1e-3, 5e-4, 2.5e-4), 12, 4
# In every step: prompts with what is erased, with near and with far words at random, and with those hurt most.
ERASED, NEAR, FAR, HURT_MOST = 16, 24, 24, 8
# Of each target: other names at most, and words that count as near. Words spread over the vocabulary.
MOST_NAMES, NEAR_WORDS, FAR_WORDS = 8, 100, 2000
# Other wordings of each target that a defence knows, at most so many of all together.
WORDINGS, MOST_WORDINGS = 80, 200
# Words that what is erased becomes the average of, if it turns into nothing.
ANCHOR_WORDS = 4
# What stands around a prompt besides a template.
CONTEXTS = 8


def has_text_start(config: EraseConfig) -> bool:
    """Whether training starts from an edit of the text encoders: only where it is prompts that draw what is erased."""
    return config.start == "text-encoder" and config.layers in READ_PROMPTS


def has_edit(config: EraseConfig) -> bool:
    """Whether training starts from any edit, which is made as strong as it must be."""
    return has_text_start(config) or has_closed_start(config)


def first_steps(targets: int) -> int:
    """Return the steps of the first training of the edit."""
    return min(MOST_STEPS, FIRST_STEPS + STEPS_PER_TARGET * (targets - 1))


def text_steps(config: EraseConfig) -> int:
    """Return the steps on the text encoders, at most. At full size, one takes about as long as a row of the U-Net."""
    if not has_text_start(config):
        return 0
    again = len(TEXT_STRENGTHS) - 1 + ROUNDS if config.look_every else 0
    wordings = WORDING_STEPS if config.robust == "words" else 0
    return len(RATES) * TRIED_STEPS + first_steps(len(config.erase)) + again * MORE_STEPS + wordings
