"""The concept space: for each target the concepts that must survive, and those that mean the same as the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from erasure.config import EraseConfig
from erasure.core.denoiser import Denoiser
from erasure.core.embedding import Embedder
from erasure.core.models import Models
from erasure.core.naming import names_target
from erasure.core.synonymy import measure_difference
from erasure.core.vocabulary import load_vocabulary
from erasure.errors import ConceptError


@dataclass(frozen=True)
class Candidate:
    """``similarity`` to the target's embedding; ``difference`` is s(c), None where it was not measured."""

    text: str
    similarity: float
    difference: float | None


@dataclass(frozen=True)
class TargetSpace:
    """``preserved`` is R for this target, nearest first; ``synonyms`` were found by measurement; ``told`` are those
    that the user named and that lie nearest to this target; ``named`` were left out because they name a target."""

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
        """(text, index of its target) of everything to be erased: targets, the user's synonyms, measured ones."""
        prompts = [(target.target, i) for i, target in enumerate(self.targets)]
        for i, target in enumerate(self.targets):
            prompts += [(text, i) for text in target.told]
            if config.erase_synonyms:
                prompts += [(candidate.text, i) for candidate in target.synonyms]
        return prompts

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
                tuple(target["told"]),
            )
            for target in values["targets"]
        )
        return cls(targets, values["vocabulary_size"], tuple(values["notes"]))


def build_concept_space(
    models: Models, denoiser: Denoiser, embedder: Embedder, config: EraseConfig
) -> ConceptSpace:
    """Find R for every target of the config with the frozen model. Deterministic.

    Raises: ConceptError if the vocabulary leaves nothing to preserve, a prompt is too long, or a concept is to be
    preserved and erased at once.
    """
    _check_lengths(models, config)
    vocabulary = load_vocabulary(config, models.tokenizer)
    gone = (*config.erase, *config.synonym)
    for text in config.preserve:
        clash = next((target for target in gone if names_target(text, target)), None)
        if clash is not None:
            raise ConceptError(
                f"{text!r} is to be preserved, but it names {clash!r}, which is to be erased; drop one"
            )
    named = {word for word in vocabulary if any(names_target(word, target) for target in gone)}
    free = [word for word in vocabulary if word not in named and word not in config.preserve]
    if not free and not config.preserve:
        raise ConceptError(
            f"none of the {len(vocabulary)} concepts of the vocabulary can be preserved: all name a target; "
            "choose another vocabulary"
        )
    notes = []
    if len(free) < config.neighbours:
        notes.append(
            f"the vocabulary has {len(free)} usable concepts, fewer than neighbours ({config.neighbours})"
        )

    pooled = _unit_or_plain(embedder.pooled([*config.erase, *free, *config.preserve]), config)
    n = len(config.erase)
    similarity = _similarity(pooled[:n], pooled[n:], config)  # (targets, words)
    words = [*free, *config.preserve]
    measured = _measure(models, denoiser, embedder, config, words, similarity[:, : len(free)], notes)

    synonyms_of = {i: _synonyms(measured[i], config) for i in range(n)}
    any_synonym = {word for found in synonyms_of.values() for word in found}
    spaces = []
    told = _nearest_target(embedder, config)
    for i, target in enumerate(config.erase):
        order = similarity[i].argsort(descending=True, stable=True).tolist()
        by_nearness = [words[k] for k in order]
        nearness = {words[k]: float(similarity[i, k]) for k in order}

        def candidate(word: str, i: int = i, nearness: dict[str, float] = nearness) -> Candidate:
            return Candidate(word, nearness[word], measured[i].get(word))

        near = [w for w in by_nearness if w not in any_synonym and w not in config.preserve][
            : config.neighbours
        ]
        kept = [w for w in by_nearness if w in set(near) | set(config.preserve)]
        if not kept:
            raise ConceptError(
                f"nothing is left to preserve near {target!r}: every candidate measures as a synonym; "
                "lower synonym_threshold, or choose a larger vocabulary"
            )
        anchor = config.anchors[i]
        own = [w for w in by_nearness if w in synonyms_of[i] and w not in config.preserve]
        if anchor and anchor in own:
            notes.append(
                f"the model draws the anchor {anchor!r} just like {target!r}: erasing it will change little"
            )
            own.remove(anchor)
        spaces.append(
            TargetSpace(
                target,
                anchor,
                tuple(candidate(w) for w in kept),
                tuple(candidate(w) for w in own),
                tuple(sorted(w for w in named if names_target(w, target))),
                tuple(told[i]),
            )
        )
    return ConceptSpace(tuple(spaces), len(vocabulary), tuple(notes))


def _check_lengths(models: Models, config: EraseConfig) -> None:
    most = models.tokenizer.model_max_length
    for text in (*config.erase, *config.synonym, *config.anchor, *config.preserve):
        for template in config.templates:
            length = len(models.tokenizer(template.format(text)).input_ids)
            if length > most:
                raise ConceptError(
                    f"{text!r} is {length} tokens long, {length - most} too many; make it shorter"
                )


def _unit_or_plain(pooled: Tensor, config: EraseConfig) -> Tensor:
    return torch.nn.functional.normalize(pooled, dim=1) if config.similarity == "cosine" else pooled


def _similarity(targets: Tensor, words: Tensor, config: EraseConfig) -> Tensor:
    """(targets, words) on the CPU, larger is nearer: cosine, or minus the L2 distance."""
    near = targets @ words.T if config.similarity == "cosine" else -torch.cdist(targets, words)
    return near.cpu()


def _measure(
    models: Models,
    denoiser: Denoiser,
    embedder: Embedder,
    config: EraseConfig,
    words: list[str],
    similarity: Tensor,
    notes: list[str],
) -> list[dict[str, float]]:
    """Per target s(c) of its nearest words: enough of them that K are left when the synonyms are out."""
    if config.synonym_threshold == 0:
        return [{} for _ in config.erase]
    side = config.resolution // models.vae_scale_factor if config.resolution else models.sample_size
    null = embedder([""])[0]
    measured: list[dict[str, float]] = []
    for i, target in enumerate(config.erase):
        order = similarity[i].argsort(descending=True, stable=True).tolist()
        found: dict[str, float] = {}
        while len(found) < len(order) and len(found) - len(_synonyms(found, config)) < config.neighbours:
            lacking = config.neighbours - (len(found) - len(_synonyms(found, config)))
            chunk = [words[k] for k in order[len(found) : len(found) + lacking]]
            difference = measure_difference(
                denoiser,
                models.alphas_cumprod,
                embedder([target])[0],
                embedder(chunk),
                null,
                shape=(4, side, side),
                states=config.synonym_states,
                seed=config.seed,
                threshold=config.synonym_threshold,
                guidance=config.sampling_guidance,
            )
            found.update(zip(chunk, difference.tolist(), strict=True))
        if found and min(found.values()) == float("inf"):
            notes.append(
                f"the model draws {target!r} much like an empty prompt: it may not know it; check the spelling"
            )
            found = {}
        measured.append(found)
    return measured


def _synonyms(measured: Mapping[str, float], config: EraseConfig) -> set[str]:
    return {word for word, s in measured.items() if s < config.synonym_threshold}


def _nearest_target(embedder: Embedder, config: EraseConfig) -> list[list[str]]:
    """The user's synonyms, each with the target that its embedding is nearest to."""
    told: list[list[str]] = [[] for _ in config.erase]
    if config.synonym:
        pooled = torch.nn.functional.normalize(embedder.pooled([*config.erase, *config.synonym]), dim=1)
        n = len(config.erase)
        for text, nearest in zip(config.synonym, (pooled[n:] @ pooled[:n].T).argmax(1).tolist(), strict=True):
            told[nearest].append(text)
    return told
