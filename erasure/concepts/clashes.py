"""Whether what is to be preserved names what is to be erased. Needs no model, and so is known before the start."""

from __future__ import annotations

from erasure.concepts.naming import names_target
from erasure.config.settings import EraseConfig


def clashes(config: EraseConfig) -> list[str]:
    """Return one line for each concept that is to be preserved although it names one that is to be erased."""
    gone = (*config.erase, *config.synonym)
    return [
        f"{text!r} is to be preserved, but it names {clash!r}, which is to be erased; remove one of them"
        for text in config.preserve
        for clash in [next((target for target in gone if names_target(text, target)), None)]
        if clash is not None
    ]
