"""Where training starts: an edit of cross-attention's values in closed form, which spares what is to stay.

A head with values W puts out W x, where x is made of the prompt's token states as they are attended to (see
:mod:`erasure.training.attended`). The edit W D of a layer turns what it reads of an erased concept, x, into what it
reads at the same places of the anchor, y, as far as what it reads of preserved prompts, p, allows it:

    D = argmin  E || x + D x - y ||^2  +  mu (E || D p ||^2 + l || D ||^2)
      = E[(y - x) x^T] M^-1,    M = E[x x^T] + mu (E[p p^T] + l I)

where the first mean is over targets, too. This is UCE (Gandikota et al., WACV 2024, Eq. 7) for the values, with three
changes. Token states are weighted as the U-Net weights them, layer by layer: most of a prompt's states are padding,
which is hardly looked at. Words spread over the vocabulary are preserved along with the nearest ones, in prompts of
several kinds, since a change that spares near words alone goes where they have no share, and hurts all others. And a
target that turns into nothing becomes in its frame what other words are in it on average: "a picture of a" is to stay
in all prompts, and to take it away with the target costs them more than the target alone.

Only values are edited: keys edited alone leave the concept as it was, and edited along with values they add nothing.
The LoRA holds W D with the smallest rank that does it well; what is left of its rank starts as every LoRA does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.lora.adapter import DOWN, UP, base_layers, lora_layers, lora_state, text_values
from erasure.model.model import Model
from erasure.training.attended import Attended, attended, stage_of
from erasure.training.closed_form import low_rank
from erasure.training.closed_start_sizes import ANCHOR_WORDS, EMPTY, FAR_WORDS, MOST_NAMES, near_words_each
from erasure.training.preserved_states import far_words

# mu and l of the formula, l in units of the mean eigenvalue of E[p p^T].
PRESERVE, PULL = 3.0, 0.3
# Weight of a target's other names, which its own carries along in part.
NAME_WEIGHT = 0.05
# How much near words and the empty prompt count among all that is preserved.
NEAR_SHARE, EMPTY_SHARE = 0.8, 0.05
# What stands behind a prompt with a far word, in turn: people write more than one word.
BEHIND = ("", ", highly detailed, sharp focus", " in pencil style", ", a painting in bright colours")
# The LoRA's rank is used up to where the edit is held with this relative error.
ERROR = 0.01


@torch.no_grad()
def closed_start(model: Model, space: ConceptSpace, config: EraseConfig) -> dict[str, Tensor]:
    """Return the LoRA's weights, as :func:`erasure.lora.adapter.lora_state` does, with the edit in its value layers."""
    unet, scale = model.unet, config.alpha / config.rank
    base, state = base_layers(unet), lora_state(unet)
    edits = edits_of_values(model, space, config)
    for name in text_values(lora_layers(unet)):
        change, metric = edits[stage_of(name)]
        wanted = base[name].weight.detach().double().cpu() @ change / scale
        down, up, error = low_rank(wanted, config.rank, metric)
        used = _rank_needed(up.square().sum(0), error)
        state[name + DOWN][:used] = down[:used].to(state[name + DOWN])
        state[name + UP][:, :used] = up[:, :used].to(state[name + UP])
    return state


def edits_of_values(model: Model, space: ConceptSpace, config: EraseConfig) -> dict[str, tuple[Tensor, Tensor]]:
    """Return D and M (d, d), float64 on the CPU, by :func:`erasure.training.attended.stage_of`."""
    words = far_words(model, space, config, FAR_WORDS)
    erased, preserved = erased_reads(model, space, config, words), preserved_reads(model, space, config, words)
    return {stage: _solved(erased[stage], preserved[stage].double()) for stage in erased}


def _solved(erased: Attended, preserved: Tensor) -> tuple[Tensor, Tensor]:
    identity = torch.eye(len(preserved), dtype=preserved.dtype)
    metric = erased.own.double() + PRESERVE * (preserved + PULL * preserved.diagonal().mean() * identity)
    change: Tensor = torch.linalg.solve(metric, erased.move.double().T).T
    return change, metric


def erased_reads(
    model: Model, space: ConceptSpace, config: EraseConfig, words: Sequence[str]
) -> Mapping[str, Attended]:
    """Return what layers read of the targets and of their anchors, their other names weighing less.

    ``words``: far ones, see :func:`anchor_prompts`.
    """
    templates = config.templates
    own: list[str] = []
    anchors: list[str] = []
    weights: list[float] = []

    def add(template: str, name: str, anchor: str, weight: float, most: int) -> None:
        into = anchor_prompts(template, anchor, words, len(own), most)
        own.extend([fill(template, name)] * len(into))
        anchors.extend(into)
        weights.extend([weight / len(into)] * len(into))

    for target, names in zip(space.targets, space.erased_by_target(config), strict=True):
        for template in templates:
            add(template, target.target, target.anchor, 1.0 / len(templates), ANCHOR_WORDS)
        for i, name in enumerate([name for name in names if name != target.target][:MOST_NAMES]):
            add(templates[i % len(templates)], name, target.anchor, NAME_WEIGHT, 1)
    return attended(model, own, config.seed, anchors, weights)


def anchor_prompts(template: str, anchor: str, words: Sequence[str], turn: int, most: int) -> list[str]:
    """Return the prompts that stand for the anchor of a name in ``template``: one, or some for the average word.

    ``words``: of which ``most`` are taken, from number ``turn`` on, if nothing would be left of the prompt.
    """
    into = fill(template, anchor)
    if into or not words:
        return [into]
    return [fill(template, words[(turn + i) % len(words)]) for i in range(most)]


def preserved_reads(model: Model, space: ConceptSpace, config: EraseConfig, far: Sequence[str]) -> dict[str, Tensor]:
    """Return E[p p^T] (d, d), fp32 on the CPU, by :func:`erasure.training.attended.stage_of`.

    ``far``: the words that are preserved besides the nearest.
    """
    templates = config.templates
    each = near_words_each(len(space.targets))
    near = dict.fromkeys((*config.preserve, *(c.text for target in space.targets for c in target.preserved[:each])))
    near_prompts = [fill(templates[i % len(templates)], word) for i, word in enumerate(near)]
    far_prompts = [fill(templates[i % len(templates)], word) + BEHIND[i % len(BEHIND)] for i, word in enumerate(far)]
    kinds = (
        (near_prompts, NEAR_SHARE),
        (far_prompts, 1 - NEAR_SHARE - EMPTY_SHARE),
        ([""] * EMPTY, EMPTY_SHARE),
    )
    whole = sum(share for prompts, share in kinds if prompts)
    total: dict[str, Tensor] = {}
    for prompts, share in kinds:
        for stage, read in (attended(model, prompts, config.seed) if prompts else {}).items():
            total[stage] = total.get(stage, torch.zeros(())) + share / whole * read.own
    return total


def _rank_needed(sizes: Tensor, error: float) -> int:
    """Return how many of the singular values ``sizes`` are needed; ``error`` is left by all of them together."""
    left = sizes.square().flip(0).cumsum(0).flip(0)  # from each one on
    whole = left[0] / (1 - error**2)
    return int((left + error**2 * whole > ERROR**2 * whole).sum())
