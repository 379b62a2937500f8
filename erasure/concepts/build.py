"""Builds the concept space: for each target, the candidates to preserve and the synonyms."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import normalize

from erasure.concepts.clashes import clashes
from erasure.concepts.lookalikes import Lookalikes
from erasure.concepts.naming import is_wider, names_target
from erasure.concepts.row_count import LIKEST, UNRELATED, has_along, judged_near
from erasure.concepts.space import Candidate, ConceptSpace, TargetSpace
from erasure.concepts.synonymy import Probe, compare_steps, probe_target
from erasure.concepts.unrelated import unrelated_words
from erasure.concepts.vocabulary import load_vocabulary
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.errors import ConceptError
from erasure.judge.album import Album, open_album
from erasure.judge.scale import CUT
from erasure.model.drawing import counted_steps, relayed, run_to_end
from erasure.model.model import Model
from erasure.model.rows import Purpose
from erasure.model.stage import Stage, counted

# A word with a smaller s(c) says more of a target than nothing does.
ALIKE = 1.0
# Words whose embeddings are read between two reports of how far it is.
_READ_AT_ONCE = 512


def build_concept_space(model: Model, config: EraseConfig, album: Album | None = None) -> ConceptSpace:
    """Do all of :func:`space_steps` at once."""
    return run_to_end(space_steps(model, config, album))


def space_steps(model: Model, config: EraseConfig, album: Album | None = None) -> Generator[Stage, None, ConceptSpace]:
    """Find R for every target of the config with the frozen model. Deterministic; rows count as ``synonyms``.

    A synonym is what the model draws just like the target by s(c), and by the judge in both directions; for a defence
    against words, also a near word whose pictures show the target. What is wider than a target by name is none. Of
    ``config.judged_words`` the nearest are judged, too: whether the model draws them as the target; rows that the
    verdict needs in any case count as ``verdict``. ``album``: where pictures that are judged are kept, for others to
    use. Yields how far it is.

    Raises: ConceptError if the vocabulary leaves nothing to preserve, a prompt is too long, or a concept is to be both
    preserved and erased.
    """
    _check_prompts(model, config)
    notes: list[str] = []
    vocabulary = load_vocabulary(config, model.tokenizer)
    named, free = _candidates(model, vocabulary, config, notes)
    words = [*free, *dict.fromkeys(config.preserve)]
    similarity = yield from _similarity(model, words, config)
    orders = [[words[k] for k in row.argsort(descending=True, stable=True).tolist()] for row in similarity]
    album = open_album(model, config.templates) if album is None else album
    # With a verdict, what makes the scales is drawn for it in any case.
    purpose: Purpose = "verdict" if config.judged_words else "synonyms"
    lookalikes = Lookalikes(album, config.templates, _unrelated(vocabulary, orders, config), purpose)
    measured, synonyms = yield from _measure(model, config, orders, lookalikes, notes)
    if has_along(config):
        yield from _let_go_along(orders, measured, synonyms, config, lookalikes, notes)
    everywhere = set().union(*synonyms)
    told = _nearest_target(model, config)
    kept = [_kept(order, everywhere, config) for order in orders]
    for target, preserved in zip(config.erase, kept, strict=True):
        if not preserved:
            raise ConceptError(
                f"nothing is left to preserve near {target!r}: every candidate is a synonym by measurement; lower "
                "synonym_threshold, choose a larger vocabulary, or name concepts to preserve"
            )
    judged = yield from _drawn_as_target(kept, config, lookalikes)
    notes += [_untold(target, config) for target in config.erase if lookalikes.cannot_tell(target)]
    spaces = []
    for i, target in enumerate(config.erase):
        near = dict(zip(words, similarity[i].tolist(), strict=True))
        found = {
            word: Candidate(word, near[word], measured[i].get(word), drawn_as_target=word in judged[i])
            for word in orders[i]
        }
        own = _to_erase([word for word in orders[i] if word in synonyms[i]], target, config, notes)
        spaces.append(
            TargetSpace(
                target,
                config.anchors[i],
                preserved=tuple(found[word] for word in kept[i]),
                synonyms=tuple(found[word] for word in own),
                named=tuple(w for w in named if any(names_target(w, t) for t in (target, *told[i]))),
                told=tuple(told[i]),
            )
        )
    return ConceptSpace(tuple(spaces), len(vocabulary), tuple(notes))


def _check_prompts(model: Model, config: EraseConfig) -> None:
    """Raise ConceptError for prompts that are too long, and for concepts to be both preserved and erased."""
    for text in (*config.erase, *config.synonym, *config.anchor, *config.preserve):
        for template in config.templates:
            prompt = fill(template, text)
            extra = _tokens_too_many(model, prompt)
            if extra > 0:
                raise ConceptError(
                    f"{prompt!r} is {extra} tokens too long for the text encoder, which reads "
                    f"{model.tokenizer.model_max_length - 2}; shorten it"
                )
    clash = clashes(config)
    if clash:
        raise ConceptError("; ".join(clash))


def _candidates(
    model: Model, vocabulary: tuple[str, ...], config: EraseConfig, notes: list[str]
) -> tuple[list[str], list[str]]:
    """Return the words that name what is erased, and those that may be preserved, in the vocabulary's order."""
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


def _tokens_too_many(model: Model, text: str) -> int:
    most: int = model.tokenizer.model_max_length
    return len(model.tokenizer(text).input_ids) - most


def _short_enough(model: Model, vocabulary: tuple[str, ...], notes: list[str]) -> list[str]:
    # Every token has at least one byte, so only long prompts need to be tokenized.
    most = model.tokenizer.model_max_length - 2
    short = [text for text in vocabulary if len(text.encode()) <= most or _tokens_too_many(model, text) <= 0]
    if len(short) < len(vocabulary):
        count = len(vocabulary) - len(short)
        notes.append(f"{count} prompts of the vocabulary are left out, because they are longer than {most} tokens")
    return short


def _similarity(model: Model, words: list[str], config: EraseConfig) -> Generator[Stage, None, Tensor]:
    """Return (targets, words) on the CPU: cosine similarity, or minus the L2 distance; larger is nearer."""
    targets, parts = model.pooled(config.erase), []
    for start in range(0, len(words), _READ_AT_ONCE):
        yield Stage("reads the words to choose from", start, len(words))
        parts.append(model.pooled(words[start : start + _READ_AT_ONCE]))
    others = torch.cat(parts)
    if config.similarity == "l2":
        return -torch.cdist(targets, others).cpu()
    return (normalize(targets, dim=1) @ normalize(others, dim=1).T).cpu()


def _nearest(order: list[str], left_out: Collection[str], count: int) -> list[str]:
    return list(islice((word for word in order if word not in left_out), count))


def _unrelated(vocabulary: tuple[str, ...], orders: list[list[str]], config: EraseConfig) -> list[str]:
    close = set(config.preserve).union(*(order[: config.neighbours] for order in orders))
    return unrelated_words(vocabulary, close, (*config.erase, *config.synonym), UNRELATED)


def _kept(order: list[str], synonyms: set[str], config: EraseConfig) -> list[str]:
    """Return the words to preserve, nearest first: K of the vocabulary, and what the user names."""
    kept = {*_nearest(order, synonyms | set(config.preserve), config.neighbours), *config.preserve}
    return [word for word in order if word in kept]


def _drawn_as_target(
    kept: Sequence[Sequence[str]], config: EraseConfig, lookalikes: Lookalikes
) -> Generator[Stage, None, list[set[str]]]:
    """Return for each target those of its nearest words that the model draws as it."""
    each = judged_near(config)
    found: list[set[str]] = [set() for _ in config.erase]
    for i, (target, words) in enumerate(zip(config.erase, kept, strict=True)):
        if each and (yield from _tells(target, lookalikes)):
            near = words[:each]
            steps = lookalikes.drawn_as(target, near)
            found[i] = yield from relayed(steps, counted(f"judges which words are drawn as {target}", len(near)))
    return found


def _tells(target: str, lookalikes: Lookalikes) -> Generator[Stage, None, bool]:
    """Return whether pictures can be judged for the target."""
    scale = yield from relayed(lookalikes.scale(target), lambda _: Stage(f"draws and judges {target} itself"))
    return scale.tells


def _untold(target: str, config: EraseConfig) -> str:
    known = [
        *(["s(c) alone decides on its synonyms"] if config.synonym_threshold else []),
        *(["it is not known which near words are drawn as it"] if config.judged_words else []),
    ]
    return f"the model does not draw {target!r} recognisably, so {', and '.join(known)}"


def _measure(
    model: Model,
    config: EraseConfig,
    orders: list[list[str]],
    lookalikes: Lookalikes,
    notes: list[str],
) -> Generator[Stage, None, tuple[list[dict[str, float]], list[set[str]]]]:
    """Measure s(c) of the words near each target, until each has K that are synonyms of no target.

    Returns s(c) and the synonyms, per target.
    """
    measured: list[dict[str, float]] = [{} for _ in config.erase]
    synonyms: list[set[str]] = [set() for _ in config.erase]
    if config.synonym_threshold == 0:
        return measured, synonyms
    yield Stage("draws what is to be erased, to compare words with it")
    with model.rows.purpose("synonyms"):
        probes = _probes(model, config, notes)
    complete = False
    while not complete:
        complete = True
        for i, probe in probes.items():
            near = _nearest(orders[i], set().union(*synonyms, config.preserve), config.neighbours)
            new = [word for word in near if word not in measured[i]]
            if new:
                # A synonym found now may be one of the K words of another target, so all are looked at again.
                complete = False
                steps = compare_steps(model, probe, model.embed(new), threshold=config.synonym_threshold)
                found = yield from relayed(
                    counted_steps(model, steps, "synonyms"),
                    counted(f"compares words with {config.erase[i]}", len(new)),
                )
                measured[i].update(zip(new, found.tolist(), strict=True))
                like = [word for word in new if measured[i][word] < config.synonym_threshold]
                synonyms[i] |= yield from _confirmed(like, config.erase[i], config, lookalikes, notes)
    return measured, synonyms


def _let_go_along(
    orders: list[list[str]],
    measured: list[dict[str, float]],
    synonyms: list[set[str]],
    config: EraseConfig,
    lookalikes: Lookalikes,
    notes: list[str],
) -> Generator[Stage, None, None]:
    """Add to the synonyms of each target the words near it from whose pictures it comes back.

    An erasure that is to hold against other words cannot hold while these stay. What the user wants to keep stays, and
    so does what is wider than a target by name.
    """
    gone = (*config.erase, *config.synonym)
    stay = set(config.preserve)
    for i, target in enumerate(config.erase):
        near = [word for word in _kept(orders[i], set().union(*synonyms), config) if word not in stay]
        likest = sorted((word for word in near if measured[i].get(word, ALIKE) < ALIKE), key=lambda w: measured[i][w])
        words = [word for word in likest if not any(is_wider(word, text) for text in gone)][:LIKEST]
        if words and (yield from _tells(target, lookalikes)):
            what = counted(f"judges from which words {target} comes back", len(words))
            levels = yield from relayed(lookalikes.levels(target, words), what)
            back = {word for word, level in levels.items() if level >= CUT}
            if back:
                notes.append(
                    f"the model draws something of {target!r} from {', '.join(sorted(back))}: erased along, to hold "
                    "against attacks; preserve what is to stay all the same"
                )
            synonyms[i] |= back


def _confirmed(
    words: list[str], target: str, config: EraseConfig, lookalikes: Lookalikes, notes: list[str]
) -> Generator[Stage, None, set[str]]:
    """Return those of the words, drawn just like the target by s(c), that are its synonyms."""
    gone = (*config.erase, *config.synonym)
    wider = [word for word in words if any(is_wider(word, text) for text in gone)]
    for word in wider:
        notes.append(
            f"the model draws {word!r} much like {target!r}, but its name means more; it stays protected unless you "
            "name it as a synonym"
        )
    words = [word for word in words if word not in wider]
    if words and (yield from _tells(target, lookalikes)):
        what = counted(f"judges which words mean {target}", len(words))
        return (yield from relayed(lookalikes.both_ways(target, words), what))
    return set(words)


def _probes(model: Model, config: EraseConfig, notes: list[str]) -> dict[int, Probe]:
    """Return a probe for the index of each target that the model knows."""
    probes = {}
    for i, target in enumerate(config.erase):
        probe = probe_target(
            model,
            model.embed([target]),
            states=config.synonym_states,
            seed=config.seed,
            guidance=config.sampling_guidance,
        )
        if probe is None:
            notes.append(
                f"the model draws {target!r} like an empty prompt; it may not know it, and its synonyms cannot "
                "be measured; check the spelling"
            )
        else:
            probes[i] = probe
    return probes


def _to_erase(synonyms: list[str], target: str, config: EraseConfig, notes: list[str]) -> list[str]:
    """Return the measured synonyms except names of anchors and of concepts that the user preserves."""
    for anchor in dict.fromkeys(config.anchors):
        if anchor and any(names_target(word, anchor) for word in synonyms):
            notes.append(
                f"the model draws the anchor {anchor!r} just like {target!r}, so turning one into the other "
                "will change little; choose another anchor"
            )
    spared = [text for text in (*config.anchors, *config.preserve) if text]
    return [word for word in synonyms if not any(names_target(word, text) for text in spared)]


def _nearest_target(model: Model, config: EraseConfig) -> list[list[str]]:
    """Assign each of the user's synonyms to the target whose embedding is nearest."""
    told: list[list[str]] = [[] for _ in config.erase]
    texts = list(dict.fromkeys(config.synonym))
    if texts:
        targets = normalize(model.pooled(config.erase), dim=1)
        nearest = (normalize(model.pooled(texts), dim=1) @ targets.T).argmax(1).tolist()
        for text, i in zip(texts, nearest, strict=True):
            told[i].append(text)
    return told
