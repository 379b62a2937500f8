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
And only in those blocks of the U-Net that carry what is erased (see :mod:`erasure.training.carrying_blocks`). The LoRA
holds W D with the smallest rank that does it well; what is left of its rank starts as every LoRA does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from erasure.concepts.hostile_wordings import HostileWording
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.lora.adapter import DOWN, UP, load_lora_state, lora_layers, lora_state
from erasure.lora.layer_choice import base_layers, text_values
from erasure.model.model import Model
from erasure.spread import spread
from erasure.training.attended import attended, stage_of
from erasure.training.carrying_blocks import block_of, block_shares, carrying_blocks
from erasure.training.closed_start_sizes import (
    ANCHOR_WORDS,
    EMPTY,
    FAR_WORDS,
    MOST_NAMES,
    MOST_WORDINGS,
    near_words_each,
    prompts_for_blocks,
    wordings_each,
)
from erasure.training.preserved_states import far_words
from erasure.training.stage_edit import StageEdit, rank_needed
from erasure.training.start_strength import OF_CLOSED_FORM
from erasure.training.weighted_pairs import WeightedPairs, anchor_prompts

# mu and l of the formula, l in units of the mean eigenvalue of E[p p^T].
PRESERVE, PULL = 3.0, 0.3
# Weight of a target's other names, which its own carries along in part.
NAME_WEIGHT = 0.05
# And of each other wording that is to be erased, if there is a defence that knows some.
WORDING_WEIGHT = 0.2
# How much near words and the empty prompt count among all that is preserved.
NEAR_SHARE, EMPTY_SHARE = 0.8, 0.05
# What stands behind a prompt with a far word, in turn: people write more than one word.
BEHIND = ("", ", highly detailed, sharp focus", " in pencil style", ", a painting in bright colours")


class ClosedStart:
    """The edit, which can be made stronger: all of it, for a target, or for one of a target's other names.

    Moments E[p p^T], E[x x^T] and E[(y - x) x^T] (d, d) of every stage are kept, fp32 on the CPU; see
    :func:`erasure.training.attended.stage_of`.
    """

    name = "the closed form"
    limits = OF_CLOSED_FORM
    at_once = True  # it is on the model from the beginning
    told = ""  # what else is to be said of it

    @torch.no_grad()
    def __init__(self, model: Model, space: ConceptSpace, config: EraseConfig):
        self._model, self._config = model, config
        self._targets = space.targets
        self._names = space.erased_by_target(config)
        self._words = far_words(model, space, config, FAR_WORDS)
        self._first = lora_state(model.unet)
        pairs = WeightedPairs()
        for number, target in enumerate(self._targets):
            self._add_target(pairs, number)
            others = [name for name in self._names[number] if name != target.target]
            for turn, name in enumerate(others[:MOST_NAMES]):
                self._add_name(pairs, number, name, NAME_WEIGHT, turn)
        self._weight = pairs.weight
        self._erased = pairs.read(model, config.seed)
        with model.rows.purpose("start"):
            near = nearest_words(space, config, near_words_each(len(space.targets)))
            self._preserved = preserved_reads(model, config, near, self._words)
        self._blocks = frozenset(map(block_of, self._erased))
        self._strength = 1.0
        self._name_weights: dict[str, float] = {}  # of those that were made to weigh more

    def leave_idle_blocks(self) -> None:
        """From now on edit only the blocks that carry what is erased. The U-Net then has the edit in all."""
        every = [(target, template) for target in self._targets for template in self._config.templates]
        count = prompts_for_blocks(self._config)
        pairs = spread(every * -(-count // len(every)), count)
        prompts = [fill(template, target.target) for target, template in pairs]
        anchors = [
            anchor_prompts(partial(fill, template), target.anchor, self._words, turn, 1)[0]
            for turn, (target, template) in enumerate(pairs)
        ]
        with self._model.rows.purpose("start"):
            shares = block_shares(self._model, self.weights(), prompts, anchors, self._config.seed)
        self._blocks = carrying_blocks(shares)

    def put(self) -> Iterator[float]:
        """Put the edit as it is now on the model's U-Net; it takes no time that is worth telling."""
        load_lora_state(self._model.unet, self.weights())
        yield from ()

    @torch.no_grad()
    def strengthen(self, strength: float) -> None:
        """Make the whole edit ``strength`` times as strong as it was at first, before a part of it is made stronger."""
        for read in self._erased.values():
            read.move = read.move * (strength / self._strength)
        self._strength = strength

    @torch.no_grad()
    def strengthen_targets(self, more: Mapping[int, float]) -> None:
        """Move targets, given by number, farther: by so many times what the edit as it was at first wanted."""
        pairs = WeightedPairs()
        for number, by in more.items():
            self._add_target(pairs, number, by)
        self._add(pairs, own=0.0, move=1.0)

    @torch.no_grad()
    def weigh_names(self, names: Mapping[str, int], times: float) -> None:
        """Let names of targets weigh ``times`` as much as they do now. ``names``: each with its target's number."""
        pairs = WeightedPairs()
        for turn, (name, number) in enumerate(names.items()):
            before = self._name_weights.get(name, NAME_WEIGHT)
            self._name_weights[name] = before * times
            self._add_name(pairs, number, name, before * (times - 1), turn)
        self._add(pairs, own=1.0, move=self._strength)

    @torch.no_grad()
    def add_wordings(self, wordings: Sequence[Sequence[HostileWording]]) -> int:
        """Let the edit erase other wordings of each target as well, the first of those that are given; return how many.

        But for those made of words that stay: to turn them away in one step costs these words too much.
        """
        pairs, templates, most = WeightedPairs(), self._config.templates, wordings_each(len(self._targets))
        chosen = [[wording for wording in own if not wording.made_of][:most] for own in wordings]
        for number, own in enumerate(chosen):
            for turn, wording in enumerate(own):
                put = partial(wording.anchored, templates[turn % len(templates)])
                self._add_pair(pairs, number, wording.words, put, WORDING_WEIGHT, number * MOST_WORDINGS + turn)
        self._add(pairs, own=1.0, move=self._strength)
        return sum(map(len, chosen))

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """Return the LoRA's weights, as :func:`erasure.lora.adapter.lora_state` does, with the edit in its values."""
        config, base = self._config, base_layers(self._model.unet)
        state, scale = {key: weight.clone() for key, weight in self._first.items()}, config.alpha / config.rank
        layers: dict[str, list[str]] = {}
        for name in text_values(lora_layers(self._model.unet)):
            layers.setdefault(stage_of(name), []).append(name)
        for stage, edit in self.edits():
            if stage not in layers:
                continue
            thin = edit.thin()
            for name in layers[stage]:
                down, up, sizes = thin.of_layer(base[name].weight, scale)
                used = min(config.rank, rank_needed(sizes))
                state[name + DOWN][:used] = down[:used].to(state[name + DOWN])
                state[name + UP][:, :used] = up[:, :used].to(state[name + UP])
        return state

    def edits(self) -> Iterator[tuple[str, StageEdit]]:
        """Yield each stage and what the edit is in it: all together would take much memory."""
        for stage, erased in self._erased.items():
            if block_of(stage) not in self._blocks:
                continue
            preserved = self._preserved[stage].double()
            identity = torch.eye(len(preserved), dtype=preserved.dtype)
            metric = erased.own.double() + PRESERVE * (preserved + PULL * preserved.diagonal().mean() * identity)
            yield stage, StageEdit(erased.move.double(), metric)

    def _add(self, pairs: WeightedPairs, own: float, move: float) -> None:
        """Add what is read of more pairs, as if it had been among what was read at first."""
        for stage, read in pairs.read(self._model, self._config.seed).items():
            share, before = pairs.weight / self._weight, self._erased[stage]
            before.own = before.own + own * share * read.own
            before.move = before.move + move * share * read.move

    def _add_target(self, pairs: WeightedPairs, number: int, weight: float = 1.0) -> None:
        target, templates = self._targets[number].target, self._config.templates
        for turn, template in enumerate(templates):
            put = partial(fill, template)
            self._add_pair(pairs, number, target, put, weight / len(templates), number * len(templates) + turn)

    def _add_name(self, pairs: WeightedPairs, number: int, name: str, weight: float, turn: int) -> None:
        put = partial(fill, self._config.templates[turn % len(self._config.templates)])
        self._add_pair(pairs, number, name, put, weight, number * MOST_NAMES + turn)

    def _add_pair(
        self, pairs: WeightedPairs, number: int, name: str, put: Callable[[str], str], weight: float, turn: int
    ) -> None:
        """Add a name of a target, by number. ``put``: see :func:`anchor_prompts`; ``turn``: of the words to take.

        Several words each time: what is peculiar to a single one would hurt all that has to do with it.
        """
        into = anchor_prompts(put, self._targets[number].anchor, self._words, turn * ANCHOR_WORDS, ANCHOR_WORDS)
        pairs.add(put(name), into, weight)


def nearest_words(space: ConceptSpace, config: EraseConfig, each: int) -> list[str]:
    """Return what the user names, and the ``each`` nearest words of every target."""
    nearest = (candidate.text for target in space.targets for candidate in target.preserved[:each])
    return list(dict.fromkeys((*config.preserve, *nearest)))


def preserved_reads(
    model: Model, config: EraseConfig, near: Sequence[str], far: Sequence[str], near_share: float = NEAR_SHARE
) -> dict[str, Tensor]:
    """Return E[p p^T] (d, d), fp32 on the CPU, by :func:`erasure.training.attended.stage_of`.

    ``near``: words that are preserved because they are near to what is erased; ``far``: others; ``near_share``: how
    much the former count. A row for each, and for a few empty prompts.
    """
    templates = config.templates
    near_prompts = [fill(templates[i % len(templates)], word) for i, word in enumerate(near)]
    far_prompts = [fill(templates[i % len(templates)], word) + BEHIND[i % len(BEHIND)] for i, word in enumerate(far)]
    kinds = (
        (near_prompts, near_share),
        (far_prompts, 1 - near_share - EMPTY_SHARE),
        ([""] * EMPTY, EMPTY_SHARE),
    )
    whole = sum(share for prompts, share in kinds if prompts)
    total: dict[str, Tensor] = {}
    for prompts, share in kinds:
        for stage, read in (attended(model, prompts, config.seed) if prompts else {}).items():
            total[stage] = total.get(stage, torch.zeros(())) + share / whole * read.own
    return total
