"""The concept space: for each target the concepts that must survive, and those that mean the same as it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from erasure.config.settings import EraseConfig


@dataclass(frozen=True)
class Candidate:
    """``similarity`` to the target's embedding; ``difference`` is s(c), None where it was not measured."""

    text: str
    similarity: float
    difference: float | None


@dataclass(frozen=True)
class TargetSpace:
    """What there is around one target.

    ``preserved`` is R for this target, nearest first; ``synonyms`` were found by measurement and are no
    anchors; ``told`` are those that the user named and that lie nearest to this target; ``named`` were left
    out of the vocabulary because they name the target or one of ``told``.
    """

    target: str
    anchor: str
    preserved: tuple[Candidate, ...]
    synonyms: tuple[Candidate, ...]
    named: tuple[str, ...]
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConceptSpace:
    targets: tuple[TargetSpace, ...]
    vocabulary_size: int
    notes: tuple[str, ...]

    def erased_prompts(self, config: EraseConfig) -> list[tuple[str, int]]:
        """(text, index of its target) of all that is to be erased: targets, synonyms told and measured."""
        prompts = [(target.target, i) for i, target in enumerate(self.targets)]
        for i, target in enumerate(self.targets):
            prompts += [(text, i) for text in target.told]
            if config.erase_synonyms:
                prompts += [(candidate.text, i) for candidate in target.synonyms]
        return prompts

    def erased_by_target(self, config: EraseConfig) -> list[list[str]]:
        """Per target: its own name first, then what is erased along with it."""
        names = [[target.target] for target in self.targets]
        for text, i in self.erased_prompts(config):
            if text not in names[i]:
                names[i].append(text)
        return names

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConceptSpace:
        def candidates(rows: list[dict[str, Any]]) -> tuple[Candidate, ...]:
            return tuple(Candidate(**row) for row in rows)

        targets = tuple(
            TargetSpace(
                target["target"],
                target["anchor"],
                candidates(target["preserved"]),
                candidates(target["synonyms"]),
                tuple(target["named"]),
                tuple(target.get("told", ())),
            )
            for target in values["targets"]
        )
        return cls(targets, values["vocabulary_size"], tuple(values["notes"]))
