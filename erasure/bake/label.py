"""What a baked checkpoint says of itself: the metadata of its base, and what was baked in.

``modelspec.*`` is Stability AI's ModelSpec 1.0.1 (github.com/Stability-AI/ModelSpec). Files land on the web: of every
path only the last part is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from erasure import __version__, bounded_json
from erasure.families.family import Family, PredictionType
from erasure.lora.metadata import CONFIG_KEY, json_object
from erasure.lora.parts import erased_by

if TYPE_CHECKING:
    from erasure.lora.file import LoraFile

BAKED_KEY = "adversarial_erase_baked"  # a list of what was baked in, the latest last
_SPEC = "modelspec."
_CODEBASES = {"original": "https://github.com/CompVis/stable-diffusion", "diffusers": "diffusers"}


@dataclass(frozen=True)
class Label:
    """All that is said of a baked checkpoint but for hashes of data that is still to be read or written.

    ``prediction``: None if the base does not say what it predicts; ``loras``: each with its weight and the sha256 of
    its file.
    """

    name: str
    base: str
    family: Family
    prediction: PredictionType | None
    layout: str
    pixels: int
    loras: Sequence[tuple[LoraFile, float, str]]
    made: datetime

    def metadata(self, before: Mapping[str, str], data_sha256: str, base_sha256: str) -> dict[str, str]:
        """Return the metadata of one file: that of the base's file, with what has changed."""
        kept = {key: text for key, text in before.items() if not key.startswith(("sshs_", f"{_SPEC}hash_"))}
        spec = {
            "sai_model_spec": "1.0.1",
            "architecture": kept.get(
                f"{_SPEC}architecture", self.family.lora.architecture_of(self.prediction).removesuffix("/lora")
            ),
            "implementation": kept.get(f"{_SPEC}implementation", _CODEBASES[self.layout]),
            "title": self.name,
            "description": "\n\n".join(filter(None, (self._described(), kept.get(f"{_SPEC}description", "")))),
            "date": self.made.isoformat(timespec="seconds"),
            "hash_sha256": f"0x{data_sha256}",
            "merged_from": ", ".join(name.replace(",", ";") for name in (self.base, *self._names())),
            "resolution": kept.get(f"{_SPEC}resolution", f"{self.pixels}x{self.pixels}"),
        }
        if self.prediction is not None:  # what nobody has measured is not for a label that decides how a file is read
            spec["prediction_type"] = kept.get(f"{_SPEC}prediction_type", self.prediction)
        baked = [*baked_before(before), self._baked(base_sha256)]
        return {
            "format": "pt",
            **kept,
            **{_SPEC + key: text for key, text in spec.items()},
            BAKED_KEY: json.dumps(baked),
        }

    def _names(self) -> list[str]:
        return [file.path.stem for file, _, _ in self.loras]

    def _described(self) -> str:
        loras = ", ".join(f"{file.path.stem} (weight {weight:g})" for file, weight, _ in self.loras)
        # A negative weight brings a concept out.
        erased = [concept for file, weight, _ in self.loras if weight > 0 for concept in _erased_by(file)]
        gone = f" Erased: {', '.join(dict.fromkeys(erased))}." if erased else ""
        return f"{self.base} with LoRAs in its weights: {loras}.{gone} Made by Adversarial Erase {__version__}."

    def _baked(self, base_sha256: str) -> dict[str, Any]:
        return {
            "base": self.base,
            "base_sha256": base_sha256,
            "made": self.made.isoformat(timespec="seconds"),
            "loras": [
                {"name": file.path.stem, "sha256": sha256, "weight": weight, "erases": list(_erased_by(file))}
                for file, weight, sha256 in self.loras
            ],
        }


def _erased_by(file: LoraFile) -> tuple[str, ...]:
    return erased_by(json_object(file.metadata, CONFIG_KEY))


def baked_before(metadata: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what a file says was baked into it, unchecked but for being a list of objects; [] if it does not say."""
    try:
        said = bounded_json.parse(metadata[BAKED_KEY], finite=False)
    except (KeyError, ValueError):
        return []
    return [each for each in said if isinstance(each, dict)] if isinstance(said, list) else []
