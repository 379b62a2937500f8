"""What a LoRA file that was combined from others says of them. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from erasure.lora.metadata import COMBINED_KEY, json_object

MOST_PARTS = 100
_MOST_CONCEPTS, _LONGEST = 100, 200  # of a part, and characters of a text


@dataclass(frozen=True)
class Part:
    """One of the files: its name without folder and ending, the sha256 of the file, its weight, what it erases."""

    name: str
    sha256: str
    weight: float
    erases: tuple[str, ...] = ()

    def __str__(self) -> str:
        erases = f", erases {', '.join(self.erases)}" if self.erases else ""
        return f"{self.name} (weight {self.weight:g}{erases})"


UNMEASURED = "nothing: it was combined from others, and nobody has measured the sum"


@dataclass(frozen=True)
class Combination:
    """Of what a file was made, and how well.

    ``rank``: that it was compressed to, 0 for the exact sum. ``left_out``: what compressing left out, and
    ``rounding``: what rounding to the file's numbers added, both Frobenius norms relative to that of the sum.
    ``refined``: whether it was trained on afterwards.
    """

    parts: tuple[Part, ...]
    rank: int
    left_out: float
    rounding: float
    refined: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        parts = [{**asdict(part), "erases": list(part.erases)} for part in self.parts]
        return {**asdict(self), "parts": parts}

    @property
    def how(self) -> str:
        """How they were combined, as the rest of a sentence; "" for an exact sum."""
        how = f"compressed to rank {self.rank}, which left out {self.left_out:.2%} of the change" if self.rank else ""
        return "; ".join(filter(None, (how, "trained on together" if self.refined else "")))

    @property
    def line(self) -> str:
        """All of it in a sentence."""
        return "; ".join(filter(None, (", ".join(map(str, self.parts)), self.how)))


def stated_combination(metadata: Mapping[str, str]) -> Combination | None:
    """Return what a file states, with bounds; None if it states nothing that makes sense. Anyone can edit a file."""
    said = json_object(metadata, COMBINED_KEY) or {}
    listed, rank = said.get("parts"), said.get("rank")
    parts = stated_parts(listed)
    if not isinstance(listed, list) or not parts or len(parts) < len(listed[:MOST_PARTS]):
        return None
    return Combination(
        parts,
        rank if isinstance(rank, int) and not isinstance(rank, bool) and 0 <= rank < 10**6 else 0,
        _number(said.get("left_out")) or 0.0,
        _number(said.get("rounding")) or 0.0,
        said.get("refined") is True,
    )


def stated_parts(listed: Any) -> tuple[Part, ...]:
    """Return those of a list in a file that make sense, with bounds; () if it is no list."""
    found = (_part(each) for each in listed[:MOST_PARTS]) if isinstance(listed, list) else ()
    return tuple(part for part in found if part is not None)


def erased_by(config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the concepts that a file's settings say it erases, shortened; nothing where they do not say."""
    said = (config or {}).get("erase")
    return tuple(str(text)[:_LONGEST] for text in said[:_MOST_CONCEPTS]) if isinstance(said, list) else ()


def _part(value: Any) -> Part | None:
    if not isinstance(value, dict):
        return None
    weight = _number(value.get("weight"))
    if weight is None:
        return None
    name, sha256 = (str(value.get(key, ""))[:_LONGEST] for key in ("name", "sha256"))
    return Part(name, sha256, weight, erased_by({"erase": value.get("erases")}))


def _number(value: Any) -> float | None:
    sound = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if sound else None


def parts_named(parts: Sequence[Part]) -> str:
    """Return the names of the parts as ModelSpec's ``merged_from`` lists them."""
    return ", ".join(part.name.replace(",", ";") for part in parts)
