"""The words of the vocabulary that a concept space is chosen from, and how near they are to its targets."""

from __future__ import annotations

from collections.abc import Collection, Generator
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import normalize

from erasure.concepts.clashes import clashes
from erasure.concepts.naming import names_target
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.errors import ConceptError
from erasure.model.model import Model
from erasure.model.stage import Stage
from erasure.number_of import number_of

# Words whose embeddings are read between two reports of how far it is.
_READ_AT_ONCE = 512


def check_prompts(model: Model, config: EraseConfig) -> None:
    """Raise ConceptError for prompts that are too long, and for concepts to be both preserved and erased."""
    for text in (*config.erase, *config.synonym, *config.anchor, *config.preserve):
        for template in config.templates:
            prompt = fill(template, text)
            extra = _tokens_too_many(model, prompt)
            if extra > 0:
                raise ConceptError(
                    f"{prompt!r} is {number_of(extra, 'token')} too long for the text encoder, which reads "
                    f"{model.tokenizer.model_max_length - 2}; shorten it"
                )
    clash = clashes(config)
    if clash:
        raise ConceptError("; ".join(clash))


def candidates(
    model: Model, vocabulary: tuple[str, ...], config: EraseConfig, notes: list[str]
) -> tuple[list[str], list[str]]:
    """Return the words that name what is erased, and those that may be preserved, in the vocabulary's order.

    What people should know is added to ``notes``. Raises: ConceptError if there is nothing to preserve.
    """
    usable = _short_enough(model, vocabulary, notes)
    gone = (*config.erase, *config.synonym)
    named = [word for word in usable if any(names_target(word, text) for text in gone)]
    left_out = {*named, *config.preserve}
    free = [word for word in usable if word not in left_out]
    if not free and not config.preserve:
        raise ConceptError(
            f"nothing is left to preserve: all {len(vocabulary)} concepts of the vocabulary name what is to "
            "be erased or are too long; choose another vocabulary, or name concepts to preserve"
        )
    if len(free) < config.neighbours:
        notes.append(f"the vocabulary has {len(free)} usable concepts, fewer than neighbours ({config.neighbours})")
    return named, free


def similarities(model: Model, words: list[str], config: EraseConfig) -> Generator[Stage, None, Tensor]:
    """Return (targets, words) on the CPU: cosine similarity, or minus the L2 distance; larger is nearer."""
    targets, parts = model.pooled(config.erase), []
    for start in range(0, len(words), _READ_AT_ONCE):
        yield Stage("reads the words to choose from", start, len(words))
        parts.append(model.pooled(words[start : start + _READ_AT_ONCE]))
    others = torch.cat(parts)
    if config.similarity == "l2":
        return -torch.cdist(targets, others).cpu()
    return (normalize(targets, dim=1) @ normalize(others, dim=1).T).cpu()


def nearest_first(words: list[str], similarity: Tensor) -> list[str]:
    """Return the words in the order of their similarity (words,) to a target; equal ones keep theirs."""
    return [words[k] for k in similarity.argsort(descending=True, stable=True).tolist()]


def nearest(order: list[str], left_out: Collection[str], count: int) -> list[str]:
    """Return the first ``count`` words of ``order``, nearest first, without those that are left out."""
    return list(islice((word for word in order if word not in left_out), count))


def kept_of(order: list[str], synonyms: set[str], config: EraseConfig) -> list[str]:
    """Return the words to preserve, nearest first: K of the vocabulary, and what the user names."""
    kept = {*nearest(order, synonyms | set(config.preserve), config.neighbours), *config.preserve}
    return [word for word in order if word in kept]


def nearest_targets(model: Model, config: EraseConfig) -> list[list[str]]:
    """Assign each of the user's synonyms to the target whose embedding is nearest."""
    told: list[list[str]] = [[] for _ in config.erase]
    texts = list(dict.fromkeys(config.synonym))
    if texts:
        targets = normalize(model.pooled(config.erase), dim=1)
        own = (normalize(model.pooled(texts), dim=1) @ targets.T).argmax(1).tolist()
        for text, i in zip(texts, own, strict=True):
            told[i].append(text)
    return told


def _tokens_too_many(model: Model, text: str) -> int:
    most: int = model.tokenizer.model_max_length
    return len(model.tokenizer(text).input_ids) - most


def _short_enough(model: Model, vocabulary: tuple[str, ...], notes: list[str]) -> list[str]:
    # Every token has at least one byte, so only long prompts need to be tokenized.
    most = model.tokenizer.model_max_length - 2
    short = [text for text in vocabulary if len(text.encode()) <= most or _tokens_too_many(model, text) <= 0]
    if len(short) < len(vocabulary):
        count = len(vocabulary) - len(short)
        are, they = ("is", "it is") if count == 1 else ("are", "they are")
        some = number_of(count, "prompt")
        notes.append(f"{some} of the vocabulary {are} left out, because {they} longer than {most} tokens")
    return short
