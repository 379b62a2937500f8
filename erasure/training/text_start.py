"""Where training starts: an edit of the text encoders, which spares what is to stay.

The layers of a text encoder can tell apart what cross-attention, which is linear in what it reads, cannot: the state of
an erased word holds much of what the states of near words hold, but the layers before it read words that have little in
common. So a LoRA on them turns what they say of an erased prompt c_e into what they say of its anchor
c_a, while what they say of preserved prompts p stays:

    min  E || tau'(c_e) - g ||^2  +  lambda E || tau'(p) - tau(p) ||^2,    g = tau(c_e) + s (tau(c_a) - tau(c_e))

with tau the frozen text encoder, tau' the tuned one, s the strength of the edit, and norms relative to how much states
of words differ. Arad et al., "ReFACT" (NAACL 2024), and Basu et al., "Localizing and Editing Knowledge in
Text-to-Image Generative Models" (ICLR 2024), edit what a text encoder knows in closed form; Zhang et al., "AdvUnlearn"
(NeurIPS 2024), find text encoders better to train than the U-Net.

What is preserved is chosen adversarially, as by Bui et al. 2024, Algorithm 1: next to prompts at random, those of the
words that are hurt most. Every step measures how far its preserved words moved. These numbers are the logits of a
distribution over all words, from which the next ones are drawn by the Gumbel trick (the k largest of logits plus
Gumbel noise, Kool et al. 2019), so that the search costs nothing. It takes no U-Net row either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator

from erasure.concepts.hostile_wordings import HostileWording
from erasure.concepts.naming import plurals
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.errors import NonFiniteLoss
from erasure.lora.parent import Parent
from erasure.model.model import Model
from erasure.training.adam_state import move_adam
from erasure.training.closed_start_sizes import of_each
from erasure.training.joint_text import text_changes
from erasure.training.preserved_states import far_words
from erasure.training.start_strength import OF_TEXT
from erasure.training.text_start_sizes import (
    ANCHOR_WORDS,
    CONTEXTS,
    ERASED,
    FAR,
    FAR_WORDS,
    HURT_MOST,
    MORE_STEPS,
    MOST_NAMES,
    MOST_WORDINGS,
    NEAR,
    NEAR_WORDS,
    RATES,
    TRIED_LAST,
    TRIED_STEPS,
    WORDING_STEPS,
    WORDINGS,
    first_steps,
)
from erasure.training.text_tuning import TextTuning
from erasure.training.weighted_pairs import anchor_prompts

# Lambda of the formula.
PRESERVE = 3.0
# How often a target's other names are trained on, its own being 1; and other wordings, if a defence knows some: all of
# them together at most as often as all names.
NAME_WEIGHT, WORDING_WEIGHT = 0.3, 0.3
# What stands before and behind a prompt, in turn; {} is any word. People write more than one concept.
_BEFORE = ("", "", "{} and ", "{}, ")
_BEHIND = ("", ", highly detailed, sharp focus", " in pencil style", ", a painting in bright colours")
# The share that a word's harm of before has in what is noted of it after another measurement; and how many times as
# large as the Gumbel noise the spread of harm over words is.
_MEMORY, _SHARPNESS = 0.5, 2.0


@dataclass
class _Erased:
    """A name or wording that is erased, of a target by number. ``weight``: how often it is trained on.

    ``put``: returns the prompt for a template, and for words in the place of these. ``made_of``: words that stay, if it
    is made of such.
    """

    number: int
    words: str
    put: Callable[[str, str], str]
    weight: float
    made_of: tuple[str, ...] = ()


class TextStart:
    """The edit, which can be made stronger: all of it, for a target, or for one of a target's other names."""

    name = "an edit of the text encoders"
    limits = OF_TEXT
    at_once = False  # it is put on the model right before the first update

    def __init__(self, model: Model, space: ConceptSpace, config: EraseConfig, parents: Sequence[Parent] = ()):
        """``parents``: LoRAs whose changes of text encoders it goes on from.

        Raises: LoraFileError if one of them does not fit the model.
        """
        self._model, self._config = model, config
        self._searches = config.adversary in ("gumbel", "pgd", "rerank")
        self._targets = space.targets
        self._tuning = TextTuning(model, config)
        if parents:
            self._tuning.go_on_from(text_changes(model, parents))
        self._names: dict[str, _Erased] = {}
        self._erased: list[_Erased] = []
        for number, own in enumerate(space.erased_by_target(config)):
            for name in own[: 1 + MOST_NAMES]:
                weight = 1.0 if name == space.targets[number].target else NAME_WEIGHT
                self._names[name] = _Erased(number, name, fill, weight)
            for name in sorted(plurals(space.targets[number].target) - set(config.preserve)):
                self._names.setdefault(name, _Erased(number, name, fill, NAME_WEIGHT))
        self._erased += self._names.values()
        self._far = far_words(model, space, config, FAR_WORDS)
        near = (candidate.text for target in space.targets for candidate in target.preserved[:NEAR_WORDS])
        self._near = list(dict.fromkeys((*config.preserve, *near)))
        self._anchors = [word for word in self._far if len(model.tokenizer(word).input_ids) == 3] or self._far
        self._generator = Generator().manual_seed(config.seed)
        self._contexts = self._some_contexts()
        self._harm = torch.zeros(len(self._near) + len(self._far))
        self._seen = torch.zeros(len(self._harm), dtype=torch.bool)
        self._strengths = dict.fromkeys(range(len(self._targets)), 1.0)
        self._rate = 0.0  # before the first training
        self._due = first_steps(len(self._targets))  # steps of the next training
        self.steps = 0

    def put(self) -> Iterator[float]:
        """Train the edit as it is wanted now, and yield the share that is done. Raises: NonFiniteLoss."""
        if not self._rate:
            yield from self._try_rates()
        steps, self._due = self._due, MORE_STEPS
        optimizer = self._tuning.optimizer(self._rate)
        for step in range(steps):
            move_adam(optimizer, self._model.device)  # a run may go on elsewhere between two steps
            loss = self._step(optimizer, self._rate * (1 - step / steps))
            if not math.isfinite(loss):
                raise NonFiniteLoss(
                    f"the loss became {loss} in step {step + 1} on the text encoders, before the first update; use "
                    "precision bf16 or fp32, or start closed-form"
                )
            yield (step + 1) / steps
        self.steps += steps

    def strengthen(self, strength: float) -> None:
        """Want the whole edit ``strength`` times as strong, before a part of it is made stronger."""
        self._strengths = dict.fromkeys(self._strengths, strength)

    def strengthen_targets(self, more: Mapping[int, float]) -> None:
        """Move targets, given by number, farther: by so many times the way to the anchor."""
        for number, by in more.items():
            self._strengths[number] += by

    def weigh_names(self, names: Mapping[str, int], times: float) -> None:
        """Train ``times`` as often on names of targets as now. ``names``: each with its target's number."""
        for name in names:
            if name in self._names:
                self._names[name].weight *= times

    def add_wordings(self, wordings: Sequence[Sequence[HostileWording]]) -> int:
        """Let the edit erase other wordings of each target as well, the first of those given; return how many.

        Those made of words that stay, too: text encoders tell two words together from each of them, which is preserved
        beside them.
        """
        most = of_each(len(self._targets), WORDINGS, MOST_WORDINGS)
        count = sum(len(own[:most]) for own in wordings)
        weight = min(WORDING_WEIGHT, sum(one.weight for one in self._erased) / max(1, count))
        self._erased += [
            _Erased(number, wording.words, partial(_framed, wording), weight, wording.made_of)
            for number, own in enumerate(wordings)
            for wording in own[:most]
        ]
        self._due = max(self._due, WORDING_STEPS if count else 0)
        return count

    @property
    def told(self) -> str:
        """What it took, as a part of a sentence."""
        return f"{self.steps} steps on what text encoders say of prompts, at a learning rate of {self._rate:.2g}"

    # --- one step

    def _step(self, optimizer: torch.optim.Adam, rate: float) -> float:
        """Make one step; return its loss."""
        erased, goals, strengths, beside = self._draw_erased()
        places = self._draw_preserved()
        words = [*self._near, *self._far]
        preserved = [
            _dressed(partial(fill, self._any(self._config.templates)), *self._context(), words[place])
            for place in places
        ]
        kept = [*preserved, *beside, ""]
        loss, moved = self._tuning.step(optimizer, rate, erased, goals, strengths, kept, PRESERVE)
        self._note(places, moved[: len(places)])
        return loss

    def _draw_erased(self) -> tuple[list[str], list[tuple[str, ...]], list[float], list[str]]:
        """Return prompts, those that each turns into the average of, and how far each is moved.

        And the same prompts with one of the words that stay in place of those that are made of such.
        """
        weights = torch.tensor([one.weight for one in self._erased])
        chosen = torch.multinomial(weights, ERASED, replacement=True, generator=self._generator).tolist()
        prompts, goals, beside = [], [], []
        for place in chosen:
            one, template, (before, behind) = self._erased[place], self._any(self._config.templates), self._context()

            dressed = partial(_dressed, partial(one.put, template), before, behind)
            anchor = self._targets[one.number].anchor
            first = (place * len(self._config.templates) + self._config.templates.index(template)) * ANCHOR_WORDS
            prompts.append(dressed(one.words))
            goals.append(tuple(anchor_prompts(dressed, anchor, self._anchors, first, ANCHOR_WORDS)))
            if one.made_of:
                beside.append(dressed(self._any(one.made_of)))
        return prompts, goals, [self._strengths[self._erased[place].number] for place in chosen], beside

    def _draw_preserved(self) -> list[int]:
        """Return words by number: near and far ones at random, and those that are hurt most, with Gumbel noise.

        Where the config does not search, noise alone chooses.
        """
        near, far = len(self._near), len(self._far)
        order = torch.randperm(near, generator=self._generator)[:NEAR]
        others = near + torch.randperm(far, generator=self._generator)[:FAR]
        noise = -(-torch.rand(near + far, generator=self._generator).clamp(1e-9, 1 - 1e-9).log()).log()
        if self._searches:
            known = self._harm[self._seen]
            spread = known.std().clamp_min(1e-9) if len(known) > 1 else torch.ones(())
            noise = (_SHARPNESS * self._harm / spread + noise).masked_fill(~self._seen, -math.inf)
        worst = noise.topk(min(HURT_MOST, int(self._seen.sum()) if self._searches else near + far)).indices
        return [*order.tolist(), *others.tolist(), *worst.tolist()]

    def _note(self, places: Sequence[int], moved: Sequence[float]) -> None:
        """Remember how far words moved."""
        for place, far in zip(places, moved, strict=True):
            old = self._harm[place] if self._seen[place] else far
            self._harm[place] = _MEMORY * old + (1 - _MEMORY) * far
            self._seen[place] = True

    # --- prompts

    def _some_contexts(self) -> list[tuple[str, str]]:
        words = [self._any(self._far or [""]) for _ in range(CONTEXTS)]
        return [(_BEFORE[i % len(_BEFORE)].format(word), _BEHIND[i % len(_BEHIND)]) for i, word in enumerate(words)]

    def _context(self) -> tuple[str, str]:
        return self._contexts[int(torch.randint(len(self._contexts), (), generator=self._generator))]

    def _any(self, items: Sequence[str]) -> str:
        return items[int(torch.randint(len(items), (), generator=self._generator))]

    # --- the learning rate

    def _try_rates(self) -> Iterator[float]:
        """Find the rate with which a few steps lead to the least loss; that depends on the text encoder's width."""
        first, state = self._tuning.state(), self._generator.get_state()
        harm, seen = self._harm.clone(), self._seen.clone()
        found: dict[float, float] = {}
        for rate in RATES:
            self._generator.set_state(state)
            optimizer = self._tuning.optimizer(rate)
            losses = []
            for _ in range(TRIED_STEPS):
                losses.append(self._step(optimizer, rate))
                yield 0.0
            found[rate] = sum(losses[-TRIED_LAST:])
            self._tuning.load(first)
            self._harm, self._seen = harm.clone(), seen.clone()
        self._generator.set_state(state)
        self._rate = min(found, key=lambda rate: found[rate] if math.isfinite(found[rate]) else math.inf)


def _dressed(put: Callable[[str], str], before: str, behind: str, words: str) -> str:
    """Return a prompt with words in it and something around it; if nothing is said in it, there is nothing around."""
    prompt = put(words)
    return before + prompt + behind if prompt else prompt


def _framed(wording: HostileWording, template: str, words: str) -> str:
    """Return a wording's prompt with other words in the place of its own."""
    return wording.anchored(template, words)
