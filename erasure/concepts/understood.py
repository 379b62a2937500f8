"""Which hostile wordings are any: those from which the frozen model does draw the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from erasure.concepts.hostile_wordings import PAIRED, HostileWording, hostile_wordings
from erasure.concepts.space import ConceptSpace
from erasure.concepts.synonymy import Probe, compare, probe_target
from erasure.concepts.understood_sizes import STATES
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.model import Model

# A wording is understood if its s(c) is at most this. On emoji-SD it divided 163 prompts of attacks on church and dog
# into those from which the model draws the concept and the others, with seven exceptions (docs/measurements.md).
UNDERSTOOD = 0.8
# One that is made of words that stay must be more like the target: what takes it away takes something from them.
MADE_OF_WORDS = 0.5


def understood_wordings(
    model: Model, space: ConceptSpace, config: EraseConfig, made_of_words: float = MADE_OF_WORDS
) -> list[tuple[HostileWording, ...]]:
    """Return for each target its hostile wordings, those most like it first. Deterministic; rows count as ``hostile``.

    ``made_of_words``: the largest s(c) of one that is made of words that stay. A target that the model draws like an
    empty prompt has none.
    """
    names = space.erased_by_target(config)
    stays = {candidate.text for target in space.targets for candidate in target.preserved}
    stays |= {text for text in (*config.preserve, *config.anchors) if text}
    found = []
    with model.rows.purpose("hostile"):
        for i, target in enumerate(space.targets):
            near = [c for c in target.preserved if c.difference is not None]
            likest = sorted(near, key=lambda c: c.difference or 0.0)[:PAIRED]
            every = {name for own in names for name in own} - set(names[i])
            wordings = hostile_wordings(names[i], [c.text for c in likest], stays | every, seed=config.seed)
            found.append(_understood(model, target.target, wordings, config, made_of_words))
    return found


def _understood(
    model: Model, target: str, wordings: Sequence[HostileWording], config: EraseConfig, made_of_words: float
) -> tuple[HostileWording, ...]:
    template = config.templates[0]
    probe = _probe(model, fill(template, target), fill(template, ""), config)
    short = [w for w in wordings if _fits(model, w, config)]
    if probe is None or not short:
        return ()
    likeness = compare(model, probe, model.embed([w.prompt(template) for w in short]), threshold=UNDERSTOOD)
    order = likeness.argsort(stable=True).tolist()
    return tuple(short[k] for k in order if likeness[k] <= (made_of_words if short[k].made_of else UNDERSTOOD))


def _probe(model: Model, prompt: str, rest: str, config: EraseConfig) -> Probe | None:
    """Return where a prompt is compared with others; ``rest`` is what counts as s = 1."""
    probe = probe_target(
        model, model.embed([prompt]), states=STATES, seed=config.seed, guidance=config.sampling_guidance
    )
    if probe is None or not rest:
        return probe
    with torch.no_grad(), model.frozen():
        eps = model.eps(probe.z, probe.t, model.embed([rest]).expand(STATES))
    return replace(probe, distance=(eps - probe.own).square().mean(dim=(1, 2, 3)).cpu())


def _fits(model: Model, wording: HostileWording, config: EraseConfig) -> bool:
    """Whether the text encoder reads all of the wording, in every template."""
    most: int = model.tokenizer.model_max_length
    return all(len(model.tokenizer(wording.prompt(template)).input_ids) <= most for template in config.templates)
