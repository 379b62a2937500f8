"""What is compared: methods, presets and single settings. Each is a name for changes to the config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from erasure.config.methods import METHODS
from erasure.config.presets import preset, presets
from erasure.config.settings import settings
from erasure.errors import ConfigError

DEFAULT = "adversarial"

ABLATIONS: dict[str, tuple[str, ...]] = {
    "adversary": ("adversary=uniform", "adversary=gumbel", "adversary=pgd", "adversary=rerank"),
    "neighbours": ("neighbours=20", "neighbours=50", "neighbours=100", "neighbours=200"),
    "search": ("search_steps=1", "search_steps=2", "search_steps=4", "search_steps=8"),
    "weight": (
        "preserve_weight=0",
        "preserve_weight=0.5",
        "preserve_weight=1",
        "preserve_weight=2",
        "preserve_weight=5",
    ),
    "loss": ("loss_space=eps", "loss_space=x0", "loss_space=min_snr"),
    "guidance": ("guidance=0", "guidance=1", "guidance=2", "guidance=3"),
    "latents": ("latents=replay", "latents=fresh+sampling_steps=10", "latents=fresh+sampling_steps=50"),
    "policy": ("preserve_on_policy=true", "preserve_on_policy=false", "on_policy=false+preserve_on_policy=false"),
    "updates": ("steps=125", "steps=250", "steps=500", "steps=1000"),
    "rank": ("rank=4+alpha=4", "rank=8+alpha=8", "rank=16+alpha=16", "rank=32+alpha=32"),
    "anchors": ('anchor=""', "anchor=own"),
    "synonyms": ("erase_synonyms=true", "erase_synonyms=false", "synonym_threshold=0"),
    "vocabulary": ("vocabulary=words", "vocabulary=tokens"),
}
"""Questions that the paper left open; each is a list of variants of the default method."""

ANCHORS: dict[str, str] = {
    "church": "building",
    "truck": "vehicle",
    "radio": "box",
    "parachute": "sky",
    "trumpet": "instrument",
    "fish": "water",
    "dog": "animal",
    "saw": "tool",
    "fuel pump": "machine",
    "golf": "grass",
    "cassette player": "box",
    "chain saw": "tool",
    "English springer": "animal",
    "French horn": "instrument",
    "garbage truck": "truck",
    "gas pump": "machine",
    "golf ball": "ball",
    "tench": "water",
}
"""An anchor for each target ("anchor=own"): what it is a kind of, or is seen with."""


@dataclass(frozen=True)
class Variant:
    """A method with changes: its name, and the settings that it stands for."""

    name: str
    changes: Mapping[str, object]

    def settings(self, erase: Sequence[str]) -> dict[str, object]:
        """Return the settings for these targets. Raises: ConfigError if "anchor=own" knows no anchor for one."""
        changes = dict(self.changes)
        if changes.get("anchor") == "own":
            missing = [text for text in erase if text not in ANCHORS]
            if missing:
                raise ConfigError([f"anchor=own: no anchor is known for {', '.join(missing)}; give anchor=TEXT"])
            changes["anchor"] = [ANCHORS[text] for text in erase]
        return changes


def method_names() -> tuple[str, ...]:
    """Return the names of the config's methods."""
    return tuple(METHODS)


def variant(name: str) -> Variant:
    """Read methods, presets and settings (``field=value``) joined by ``+``, such as ``uce+rank=16``.

    Raises: ConfigError if a part is none of them.
    """
    changes: dict[str, object] = {}
    for part in name.split("+"):
        if "=" in part:
            field, _, text = part.partition("=")
            if field not in settings():
                raise ConfigError([f"variant {name!r}: there is no setting {field!r}"])
            changes[field] = _value(text)
        elif part in method_names():
            changes["method"] = part
        elif part in presets():
            changes.update(preset(part).settings)
        else:
            known = ", ".join((*method_names(), *presets()))
            raise ConfigError(
                [f"variant {name!r}: {part!r} is neither a method nor a preset ({known}) nor field=value"]
            )
    return Variant(name, changes)


def variants(methods: Sequence[str], ablations: Sequence[str]) -> list[Variant]:
    """Return each variant once, in the order given: methods first, then those of each ablation.

    Raises: ConfigError for an unknown name.
    """
    unknown = [name for name in ablations if name not in ABLATIONS]
    if unknown:
        raise ConfigError([f"there is no ablation {name!r}; choose from {', '.join(ABLATIONS)}" for name in unknown])
    names = [*methods, *(name for ablation in ablations for name in ABLATIONS[ablation])]
    return [variant(name) for name in dict.fromkeys(names)]


def _value(text: str) -> object:
    """Read a value as JSON, or as the text that it is."""
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value
