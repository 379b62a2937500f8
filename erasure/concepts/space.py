"""The concept space as data: for each target, the candidates to preserve and the synonyms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from erasure.config.settings import EraseConfig


@dataclass(frozen=True)
class Candidate:
    """A member of a concept space.

    ``similarity``: to the target's embedding; ``difference``: s(c), None if it was not measured. Of candidates that are
    not near the target it is a rough value, see :func:`erasure.concepts.synonymy.compare`. ``drawn_as_target``: whether
    the judge recognises the target in the word's own pictures, so that the target cannot go while the word stays; only
    the nearest words are judged.
    """

    text: str
    similarity: float
    difference: float | None
    drawn_as_target: bool = False


@dataclass(frozen=True)
class TargetSpace:
    """The concept space of one target.

    ``preserved``: R for this target, nearest first. ``synonyms``: those that were measured, without anchors.
    ``told``: those that the user named and that are nearest to this target. ``named``: entries that were left out of
    the vocabulary because they name the target or one of ``told``.
    """

    target: str
    anchor: str
    preserved: tuple[Candidate, ...]
    synonyms: tuple[Candidate, ...]
    named: tuple[str, ...]
    told: tuple[str, ...] = ()

    @property
    def drawn_as_target(self) -> tuple[str, ...]:
        """The preserved words that the model draws as the target, so that both wishes cannot be had."""
        return tuple(candidate.text for candidate in self.preserved if candidate.drawn_as_target)


@dataclass(frozen=True)
class ConceptSpace:
    """The concept spaces of all targets.

    ``vocabulary_size``: number of entries it was chosen from; ``notes``: what the user should know, one line each.
    """

    targets: tuple[TargetSpace, ...]
    vocabulary_size: int
    notes: tuple[str, ...]

    def erased_prompts(self, config: EraseConfig) -> list[tuple[str, int]]:
        """Return (text, index of its target) of everything to be erased: targets, their told and measured synonyms."""
        prompts = [(target.target, i) for i, target in enumerate(self.targets)]
        for i, target in enumerate(self.targets):
            prompts += [(text, i) for text in target.told]
            if config.erase_synonyms:
                prompts += [(candidate.text, i) for candidate in target.synonyms]
        return prompts

    def erased_by_target(self, config: EraseConfig) -> list[list[str]]:
        """Return the names of each target: its own first, then those that are erased with it."""
        names = [[target.target] for target in self.targets]
        for text, i in self.erased_prompts(config):
            if text not in names[i]:
                names[i].append(text)
        return names

    def gone(self, config: EraseConfig) -> set[str]:
        """Return all words that are not preserved: what is erased, what names a target, and what is drawn like one.

        Synonyms are among them also where they are not erased: to preserve one would hold the erasure back.
        """
        alike = {candidate.text for target in self.targets for candidate in target.synonyms}
        return {text for text, _ in self.erased_prompts(config)} | {w for t in self.targets for w in t.named} | alike

    @property
    def near(self) -> set[str]:
        """All words near a target: those that are preserved, and those that are drawn like it."""
        return {word.text for target in self.targets for word in (*target.preserved, *target.synonyms)}

    def to_dict(self) -> dict[str, Any]:
        """Return the space as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConceptSpace:
        """Return the space that :meth:`to_dict` was called on. Raises: KeyError or TypeError for anything else."""

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
