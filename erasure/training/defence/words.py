"""Hostile wordings: among those that the frozen model understands, the one that is erased least is erased next.

The search is that for the concept to preserve (Bui et al. 2024, Algorithm 1) over a second space, for the prompt that
brings the target back best, as AdvUnlearn's attack measures it (Zhang et al., NeurIPS 2024, Eq. 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Generator, Tensor

from erasure.concepts.hostile_wordings import HostileWording
from erasure.concepts.space import ConceptSpace
from erasure.concepts.understood import MADE_OF_WORDS, UNDERSTOOD, understood_wordings
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.conditioning import Prompt
from erasure.model.model import Model
from erasure.training.adversary.comeback import Comeback
from erasure.training.adversary.gumbel import GumbelSearch
from erasure.training.adversary.search import Candidates, Question
from erasure.training.defence.defence import Defence, Erased
from erasure.training.latents.source import LatentState
from erasure.training.text_start_sizes import has_text_start

# Of Adam on the logits: a run has few updates, in which the logits must leave 0, where all are alike.
RATE = 0.5


class HostileWords(Defence):
    """Keeps one vector of logits per target over its hostile wordings, which are measured by :meth:`prepare`.

    An edit of the text encoders tells a pair of words from each of the two, so pairs are left to it where there is one:
    cross-attention, which is linear in what it reads, would give up the words for the pair.
    """

    def __init__(self, model: Model, space: ConceptSpace, config: EraseConfig):
        self._model = model
        self._space = space
        self._config = config
        self._wordings: list[tuple[HostileWording, ...]] | None = None
        self._sought: list[tuple[HostileWording, ...]] = []  # those of them that updates look for
        self._search: GumbelSearch | None = None

    def prepare(self) -> str:
        if self._wordings is not None:
            return ""
        pairs = UNDERSTOOD if has_text_start(self._config) else MADE_OF_WORDS
        found = understood_wordings(self._model, self._space, self._config, pairs)
        self._begin(found)
        told = (f"{len(own)} for {target.target}" for own, target in zip(found, self._space.targets, strict=True))
        return f"other wordings from which the model draws what is erased, to be erased as well: {', '.join(told)}"

    @property
    def wordings(self) -> Sequence[Sequence[HostileWording]]:
        return self._wordings or ()

    def _begin(self, wordings: list[tuple[HostileWording, ...]]) -> GumbelSearch:
        self._wordings = wordings
        left = has_text_start(self._config)
        self._sought = [tuple(w for w in own if not (left and w.made_of)) for own in wordings]
        config = replace(self._config, search_rate=RATE, hard=True)
        self._search = GumbelSearch([len(own) for own in self._sought], config, self._model.device)
        return self._search

    def find(
        self, targets: Sequence[int], template: str, plain: Erased, wanted: Tensor, generator: Generator
    ) -> Erased:
        if self._search is None:
            raise ValueError("prepare() comes first")
        rows = [row for row, target in enumerate(targets) if self._sought[target]]
        if not rows:
            return plain
        asked = [targets[row] for row in rows]
        states = [plain.states[row] for row in rows]
        comeback = Comeback(self._model, self._config.loss_space, states, wanted[rows])
        question = Question(asked, [self._candidates(i, template) for i in asked], comeback)
        found = self._search.find(question, generator)
        prompts, anchors, at = [*plain.prompts], [*plain.anchors], [*plain.states]
        beside = []
        for row, target, prompt in zip(rows, asked, found, strict=True):
            wording = self._wording(target, template, prompt)
            anchor = wording.anchored(template, self._space.targets[target].anchor)
            prompts[row], anchors[row] = prompt, self._model.prompt(anchor)
            if wording.made_of:
                k = int(torch.randint(len(wording.made_of), (), generator=generator))
                beside.append(self._model.prompt(fill(template, wording.made_of[k])))
            # What the frozen model predicts there for the target is not what it predicts for the wording.
            at[row] = LatentState(at[row].z, at[row].t, None, at[row].eps_null)
        return Erased(prompts, anchors, prompts, at, beside)

    def _candidates(self, target: int, template: str) -> Candidates:
        texts = tuple(wording.prompt(template) for wording in self._sought[target])
        own = self._model.prompt(fill(template, self._space.targets[target].target))
        return Candidates(own, texts, self._model.embed(texts))

    def _wording(self, target: int, template: str, prompt: Prompt) -> HostileWording:
        return next(w for w in self._sought[target] if w.prompt(template) == prompt.text)

    def worst(self, target: int, template: str, count: int) -> list[Prompt]:
        if self._search is None:
            return []
        order = self._search.probabilities(target).argsort(descending=True, stable=True).tolist()
        return [self._model.prompt(self._sought[target][k].prompt(template)) for k in order[:count]]

    # --- the state

    def tensors(self) -> dict[str, Tensor]:
        return {} if self._search is None else self._search.tensors()

    def meta(self) -> dict[str, Any]:
        known = self._wordings
        return {"wordings": None if known is None else [[asdict(w) for w in own] for own in known]}

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        if meta["wordings"] is not None:
            search = self._begin([tuple(map(_wording, own)) for own in meta["wordings"]])
            search.load_tensors(tensors)
            search.move(self._model.device)

    def move(self, device: torch.device | str) -> None:
        if self._search is not None:
            self._search.move(device)


def _wording(values: Mapping[str, Any]) -> HostileWording:
    """Return the wording of which these are the fields, as JSON types."""
    return HostileWording(values["words"], values["frame"], tuple(values["made_of"]))
