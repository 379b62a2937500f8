"""Whether what stays or comes in place of something names what is to be erased. Needs no model, so is known at once."""

from __future__ import annotations

from erasure.concepts.naming import names_target
from erasure.config.settings import EraseConfig


def start_problems(config: EraseConfig) -> list[str]:
    """Return why a run cannot start with these concepts, one line each, which begins with the setting's name."""
    return [f"preserve: {line}" for line in clashes(config)] + [f"anchor: {line}" for line in _anchors(config)]


def clashes(config: EraseConfig) -> list[str]:
    """Return one line for each concept that is to be preserved although it names one that is to be erased."""
    gone = (*config.erase, *config.synonym)
    return [
        f"{text!r} is to be preserved, but it names {clash!r}, which is to be erased; remove one of them"
        for text in config.preserve
        for clash in [next((target for target in gone if names_target(text, target)), None)]
        if clash is not None
    ]


def _anchors(config: EraseConfig) -> list[str]:
    """Return one line for each target that is to turn into another one, which is to be erased as well."""
    return [
        f"{target!r} is to turn into {anchor!r}, but that names {other!r}, which is to be erased; name another anchor"
        for target, anchor in zip(config.erase, config.anchors, strict=True)
        for other in [next((text for text in config.erase if text != target and names_target(anchor, text)), None)]
        if anchor and other is not None
    ]
