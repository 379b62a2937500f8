"""Builds the concept space: for each target, the candidates to preserve and the synonyms."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from erasure.concepts.candidates import candidates, check_prompts, kept_of, nearest_first, nearest_targets, similarities
from erasure.concepts.lookalikes import Lookalikes
from erasure.concepts.naming import names_target
from erasure.concepts.row_count import UNRELATED, has_along, judged_near, scale_pictures
from erasure.concepts.space import Candidate, ConceptSpace, TargetSpace
from erasure.concepts.synonyms import let_go_along, measure_synonyms, tells, to_erase
from erasure.concepts.unrelated import unrelated_words
from erasure.concepts.vocabulary import load_vocabulary
from erasure.config.settings import EraseConfig
from erasure.errors import ConceptError
from erasure.judge.album import Album, open_album
from erasure.model.drawing import relayed, run_to_end
from erasure.model.model import Model
from erasure.model.rows import Purpose
from erasure.model.stage import Stage, counted


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
    check_prompts(model, config)
    notes: list[str] = []
    vocabulary = load_vocabulary(config, model.tokenizer)
    named, free = candidates(model, vocabulary, config, notes)
    words = [*free, *dict.fromkeys(config.preserve)]
    similarity = yield from similarities(model, words, config)
    orders = [nearest_first(words, row) for row in similarity]
    album = open_album(model, config.templates) if album is None else album
    # With a verdict, what makes the scales is drawn for it in any case.
    purpose: Purpose = "verdict" if config.judged_words else "synonyms"
    unrelated = _unrelated(vocabulary, orders, config)
    pictures = scale_pictures(config)
    lookalikes = Lookalikes(album, config.templates, config.erase, unrelated, purpose, pictures)
    measured, synonyms = yield from measure_synonyms(model, config, orders, lookalikes, notes)
    if has_along(config):
        yield from let_go_along(orders, measured, synonyms, config, lookalikes, notes)
    everywhere = set().union(*synonyms)
    told = nearest_targets(model, config)
    kept = [kept_of(order, everywhere, config) for order in orders]
    for target, preserved in zip(config.erase, kept, strict=True):
        if not preserved:
            along, less = (", or goes along with it", " or leave robust off") if has_along(config) else ("", "")
            raise ConceptError(
                f"nothing is left to preserve near {target!r}: every candidate is a synonym by measurement{along}; "
                f"lower synonym_threshold{less}, choose a larger vocabulary, or name concepts to preserve"
            )
    judged = yield from _drawn_as_target(kept, config, lookalikes)
    for target, compared in zip(config.erase, measured, strict=True):
        if lookalikes.cannot_tell(target) and (compared or config.judged_words):
            notes.append(_untold(target, config, compared=bool(compared)))
    spaces = []
    for i, target in enumerate(config.erase):
        near = dict(zip(words, similarity[i].tolist(), strict=True))
        found = {
            word: Candidate(word, near[word], measured[i].get(word), drawn_as_target=word in judged[i])
            for word in orders[i]
        }
        own = to_erase([word for word in orders[i] if word in synonyms[i]], target, config, notes)
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


def _unrelated(vocabulary: tuple[str, ...], orders: list[list[str]], config: EraseConfig) -> list[str]:
    close = set(config.preserve).union(*(order[: config.neighbours] for order in orders))
    return unrelated_words(vocabulary, close, (*config.erase, *config.synonym), UNRELATED)


def _drawn_as_target(
    kept: Sequence[Sequence[str]], config: EraseConfig, lookalikes: Lookalikes
) -> Generator[Stage, None, list[set[str]]]:
    """Return for each target those of its nearest words that the model draws as it."""
    each = judged_near(config)
    found: list[set[str]] = [set() for _ in config.erase]
    for i, (target, words) in enumerate(zip(config.erase, kept, strict=True)):
        if each and (yield from tells(target, lookalikes)):
            near = words[:each]
            steps = lookalikes.drawn_as(target, near)
            found[i] = yield from relayed(steps, counted(f"judges which words are drawn as {target}", len(near)))
    return found


def _untold(target: str, config: EraseConfig, *, compared: bool) -> str:
    known = [
        *(["s(c) alone decides on its synonyms"] if compared else []),
        *(["it is not known which near words are drawn as it"] if config.judged_words else []),
    ]
    return f"the model does not draw {target!r} recognisably, so {', and '.join(known)}"
