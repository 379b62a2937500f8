"""Finds by measurement which words mean a target, and which go along with it."""

from __future__ import annotations

from collections.abc import Generator

from erasure.concepts.candidates import kept_of, nearest
from erasure.concepts.lookalikes import Lookalikes
from erasure.concepts.naming import is_wider, names_target
from erasure.concepts.row_count import LIKEST, has_along
from erasure.concepts.synonymy import Probe, compare_steps, probe_target
from erasure.config.settings import EraseConfig
from erasure.judge.scale import CUT
from erasure.model.drawing import counted_steps, relayed
from erasure.model.model import Model
from erasure.model.stage import Stage, counted

# A word with a smaller s(c) says more of a target than nothing does.
_ALIKE = 1.0


def measure_synonyms(
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
    # What may go along is told by s(c), too.
    threshold = max(config.synonym_threshold, _ALIKE) if has_along(config) else config.synonym_threshold
    complete = False
    while not complete:
        complete = True
        for i, probe in probes.items():
            near = nearest(orders[i], set().union(*synonyms, config.preserve), config.neighbours)
            new = [word for word in near if word not in measured[i]]
            if new:
                # A synonym found now may be one of the K words of another target, so all are looked at again.
                complete = False
                steps = compare_steps(model, probe, model.embed(new), threshold=threshold)
                found = yield from relayed(
                    counted_steps(model, steps, "synonyms"),
                    counted(f"compares words with {config.erase[i]}", len(new)),
                )
                measured[i].update(zip(new, found.tolist(), strict=True))
                like = [word for word in new if measured[i][word] < config.synonym_threshold]
                synonyms[i] |= yield from _confirmed(like, config.erase[i], config, lookalikes, notes)
    return measured, synonyms


def let_go_along(
    orders: list[list[str]],
    measured: list[dict[str, float]],
    synonyms: list[set[str]],
    config: EraseConfig,
    lookalikes: Lookalikes,
    notes: list[str],
) -> Generator[Stage, None, None]:
    """Add to the synonyms of each target the words near it from whose pictures it comes back.

    An erasure that is to hold against other words cannot hold while these stay. What the user wants to keep stays, what
    a target turns into, and what is wider than a target by name.
    """
    gone = (*config.erase, *config.synonym)
    stay = [text for text in (*config.anchors, *config.preserve) if text]
    for i, target in enumerate(config.erase):
        left = kept_of(orders[i], set().union(*synonyms), config)
        near = [word for word in left if not any(names_target(word, text) for text in stay)]
        likest = sorted((word for word in near if measured[i].get(word, _ALIKE) < _ALIKE), key=lambda w: measured[i][w])
        words = [word for word in likest if not any(is_wider(word, text) for text in gone)][:LIKEST]
        if words and (yield from tells(target, lookalikes)):
            what = counted(f"judges from which words {target} comes back", len(words))
            levels = yield from relayed(lookalikes.levels(target, words), what)
            back = {word for word, level in levels.items() if level >= CUT}
            if back:
                notes.append(
                    f"the model draws something of {target!r} from {', '.join(sorted(back))}: erased along, to hold "
                    "against attacks; preserve what is to stay all the same"
                )
            synonyms[i] |= back


def tells(target: str, lookalikes: Lookalikes) -> Generator[Stage, None, bool]:
    """Return whether pictures can be judged for the target."""
    scale = yield from relayed(lookalikes.scale(target), lambda _: Stage("draws and judges what is to be erased"))
    return scale.tells


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
    if words and (yield from tells(target, lookalikes)):
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


def to_erase(synonyms: list[str], target: str, config: EraseConfig, notes: list[str]) -> list[str]:
    """Return the measured synonyms except names of anchors and of concepts that the user preserves."""
    for anchor in dict.fromkeys(config.anchors):
        if anchor and any(names_target(word, anchor) for word in synonyms):
            notes.append(
                f"the model draws the anchor {anchor!r} just like {target!r}, so turning one into the other "
                "will change little; choose another anchor"
            )
    spared = [text for text in (*config.anchors, *config.preserve) if text]
    return [word for word in synonyms if not any(names_target(word, text) for text in spared)]
