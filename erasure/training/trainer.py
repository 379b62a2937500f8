"""The trainer: eraser against adversary (Bui et al. 2024, Algorithm 2)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.errors import OutOfMemory
from erasure.lora.parent import Parent
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.drawing import relayed
from erasure.model.model import Model
from erasure.model.rows import Rows
from erasure.model.stage import Stage, counted
from erasure.training.adversary.choose import choose_adversary
from erasure.training.adversary.harm import Harm
from erasure.training.adversary.search import NoSearch, Question
from erasure.training.concept_draws import ConceptDraws
from erasure.training.defence.choose import choose_defence
from erasure.training.defence.defence import Erased
from erasure.training.defence.sizes import is_hostile
from erasure.training.descent import Descent, part_of
from erasure.training.events import Look, Note, Step
from erasure.training.first_weights import FirstWeights, set_first_weights
from erasure.training.frozen_predictions import FrozenPredictions
from erasure.training.latents.choose import choose_latent_source
from erasure.training.latents.source import LatentState, stack
from erasure.training.pace import Pace, moved_shares
from erasure.training.pace_updates import MEASURED
from erasure.training.rehearsal import Rehearsal, rehearsed_words
from erasure.training.steering import Steering
from erasure.training.update_losses import UpdateLosses


class Trainer:
    """Trains the LoRA that is on the model's U-Net. Iterate over it; each item is one update.

    Stop by not asking for the next item; :meth:`tensors` and :meth:`meta` then hold all that a resumed run needs to
    end with the same weights, bit for bit on the same machine. All that is random in an update follows from the seed
    and the update's number, so no random state has to be kept.
    """

    def __init__(self, model: Model, space: ConceptSpace, config: EraseConfig, parents: Sequence[Parent] = ()):
        """``parents``: LoRAs that training starts from, all together, in place of the config's start."""
        self.config = config
        self.model = model
        self.step = 0
        self._pace = Pace(config.pace) if config.pace else None
        self.steering: Steering | None = None  # without one, all updates are made
        self._steering_state: tuple[dict[str, Tensor], dict[str, Any]] | None = None  # loaded before there is one
        self._seconds = 0.0
        self.draws = ConceptDraws(model, space, config)
        self.frozen = FrozenPredictions(model, config)
        self._targets = range(len(space.targets))
        self.source = choose_latent_source(model, config)
        self.adversary = choose_adversary([len(target.preserved) for target in space.targets], config, model.device)
        self.defence = choose_defence(model, space, config)
        words = rehearsed_words(model, space, config) if config.rehearsed else []
        self._rehearsal = Rehearsal(model, words, config)
        first = set_first_weights(model, space, config, parents)
        self._first: FirstWeights | None = first  # until training begins: it is large
        self.descent = Descent(model, first.null_space, config)
        moved = self._pace is not None and (parents or config.start != "zero")
        self._start = self.descent.weights() if moved else None

    def __iter__(self) -> Iterator[Step | Look | Note | Stage]:
        steering = self.steering
        told = self._prepared()
        if told:
            yield Note(told)
        if not self.step:
            yield from self._fitted()
        self._first = None
        while True:
            # First, so that a run that is resumed from a state before a look takes it up.
            if steering is not None and steering.due(self.step):
                yield steering.look(self.step)
            elif self.step < self.config.updates and not (steering is not None and steering.ended):
                if self._pace is not None and self.step == MEASURED[-1]:
                    yield self._paced(self._pace)
                yield self.update()
            else:
                break
        if steering is not None and steering.best_step:
            yield self._end(steering)

    def _prepared(self) -> str:
        """Get the defence ready, and return what is to be said of it, if anything."""
        return "" if self.defence is None else self.defence.prepare()

    def _fitted(self) -> Iterator[Stage | Note]:
        """Fit the edit that training starts from, if any, to what is known by now, and say how far it is."""
        first, steering = self._first, self.steering
        if first is None or first.edit is None:
            return
        wordings = () if self.defence is None else self.defence.wordings
        fitting = first.fit(self.config.erase, steering, wordings)
        fit = yield from relayed(fitting, counted("fits the edit that training starts from (%)", 100))
        if fit.unseen and steering is not None:
            steering.look_soon()
        if self._start is not None:
            self._start = self.descent.weights()
        if fit.told:
            yield Note(fit.told)

    def _paced(self, pace: Pace) -> Note:
        """Say what the learning rate is from now on."""
        rate = pace.factor(self.step + 1, self.config.learning_rate) * self.config.learning_rate
        return Note(f"the learning rate is {rate:.2g} from now on, by how far the first updates moved predictions")

    def _end(self, steering: Steering) -> Note:
        """Keep the best weights, and say what ended the training."""
        best = steering.keep_best()
        why = steering.why_ended if steering.ended else "all updates were made"
        return Note(
            f"training ended after {self.step} of at most {self.config.updates} updates, since {why}; "
            f"kept are the weights after update {best}"
        )

    def update(self) -> Step:
        """One update of the LoRA weights.

        Raises: NonFiniteLoss, OutOfMemory; the weights are then as they were after the update before.
        """
        began = time.perf_counter()
        rate = self._learning_rate()
        try:
            with self.model.rows.purpose("training"):
                losses, erased, preserved = self._update()
        except torch.cuda.OutOfMemoryError as error:
            raise OutOfMemory(
                f"the device ran out of memory in update {self.step + 1} (batch {self.config.batch}, "
                f"{self.model.dtype}); use precision bf16 or fp16, gradient_checkpointing, batch 1, "
                "or a smaller resolution"
            ) from error
        self.step += 1
        self._seconds += time.perf_counter() - began
        return Step(
            step=self.step,
            steps=self.config.updates,
            erase_loss=losses[0],
            preserve_loss=losses[1],
            erased=tuple(prompt.text for prompt in erased),
            preserved=tuple(prompt.text for prompt in preserved),
            learning_rate=rate,
            rows=int(self.model.rows["training"].total),
            seconds=self._seconds,
        )

    def _update(self) -> tuple[tuple[float, float], list[Prompt], list[Prompt]]:
        config = self.config
        generator = Generator().manual_seed(config.seed * 1_000_003 + self.step)

        # c_e ~ E with its z_t, and c_a <- Algorithm 1 with its own
        draws = self.draws
        targets, template = draws.targets(generator, self._worked_on())
        erased = [draws.erased(i, template, generator, names_left=self._names_left(i)) for i in targets]
        anchors = [draws.anchor(i, template) for i in targets]
        # Pictures are of what the concept is to become; trajectories are the concept's own.
        erase_states = self.source.draw(
            anchors if config.latents == "pictures" else erased, generator, tuned=config.on_policy
        )
        asked, erase_states = self._asked(erased, erase_states)
        beside: list[Prompt] = []
        if self._is_attacked(targets):
            attacked = self._attacked(targets, template, Erased(erased, anchors, asked, erase_states), generator)
            erased, anchors, asked = attacked.prompts, attacked.anchors, attacked.asked
            erase_states, beside = attacked.states, attacked.beside
        searching = not isinstance(self.adversary, NoSearch)
        candidates = [draws.candidates(i, template) for i in targets] if searching else []
        harm = self._harm(erase_states, generator)
        preserved = self.adversary.find(Question(targets, candidates, harm), generator)
        preserved += draws.given(anchors, template, generator) + beside
        # As published, where the tuned model goes; only where the frozen one goes, less is preserved.
        on_policy = config.preserve_on_policy or config.latents == "fresh"
        preserve_states = self.source.draw(preserved, generator, tuned=on_policy, early=True)

        found = len(preserved)
        rehearsed = self._rehearsal.draw(self.step, generator)
        preserved = preserved + rehearsed.prompts
        preserve_states = [*preserve_states, *rehearsed.states]

        measured = self._pace is not None and self._pace.measures(self.step + 1)
        goal, eps_target, eps_anchor = self.frozen.goal(
            erased, anchors, erase_states, preserved, preserve_states, targets=measured
        )
        start = self._eps_at_start(asked, erase_states, eps_target)

        def note_pace(eps: Tensor) -> None:
            if self._pace is not None:
                moved = partial(moved_shares, eps[: len(erased)], start, eps_target, eps_anchor)
                self._pace.note(self.step + 1, self._learning_rate(), moved)

        losses = UpdateLosses(self.model, config, goal, (len(erased), found, len(rehearsed.prompts)))
        parts = losses.parts(asked + preserved, erase_states + preserve_states, note_pace)
        self.descent.step(parts, self._learning_rate(), self.step + 1)
        return losses.told, erased, preserved[:found]

    # --- predictions

    def _asked(self, erased: list[Prompt], states: list[LatentState]) -> tuple[list[Prompt], list[LatentState]]:
        """The prompts that are trained to predict the goal of the erased ones, and the states with what is known."""
        return erased, states

    def _is_attacked(self, targets: Sequence[int]) -> bool:
        """Whether this update is about hostile prompts."""
        left = self.steering is not None and all(map(self.steering.hostile_left, targets))
        return self.defence is not None and (left or is_hostile(self.step))

    def _attacked(self, targets: Sequence[int], template: str, plain: Erased, generator: Generator) -> Erased:
        """What is erased in place of ``plain``: the prompts from which the tuned model draws the targets best."""
        assert self.defence is not None
        self.defence.prepare()
        wanted = self.frozen.eps(plain.prompts, plain.states)
        return self.defence.find(targets, template, plain, wanted, generator)

    def _harm(self, erase_states: Sequence[LatentState], generator: Generator) -> Harm:
        """The search looks at harm on the concept's own latents, as published; or, cheaply, on the erased one's.

        The latter are at hand, and they are where the LoRA works hardest.
        """

        def states(prompts: Sequence[Prompt]) -> Sequence[LatentState]:
            if self.config.latents == "fresh":
                return self.source.draw(prompts, generator, tuned=True)
            return [*erase_states] * (len(prompts) // len(erase_states))

        return Harm(self.model, self.config.loss_space, states)

    @torch.no_grad()
    def _eps_at_start(self, prompts: list[Prompt], states: list[LatentState], own: Tensor) -> Tensor:
        """eps_theta'(z_t, c) (b, c, h, w) at the start of training, if the pace is measured now; ``own``: eps(z_t, c).

        Called before the tuned model's forward pass, whose weights must not change until its backward pass.
        """
        if self._start is None or self._pace is None or not self._pace.measures(self.step + 1):
            return own
        now = self.descent.weights()
        self.descent.put_back(self._start)
        z, t = stack(states)
        eps = self.model.eps(z, t, Conditioning.cat([prompt.conditioning for prompt in prompts]))
        self.descent.put_back(now)
        return eps

    # --- looks

    def steer(self, steering: Steering) -> None:
        """From now on look at samples, and end when all is gone; goes on with the looks of a state that was loaded."""
        self.steering = steering
        if self._steering_state is not None:
            steering.load(*self._steering_state)
            self._steering_state = None

    def _worked_on(self) -> Sequence[int]:
        return self._targets if self.steering is None else self.steering.worked_on()

    def _names_left(self, target: int) -> bool:
        return self.steering is not None and self.steering.names_left(target)

    def _learning_rate(self) -> float:
        """Return the learning rate of the next update."""
        factor = 1.0 if self._pace is None else self._pace.factor(self.step + 1, self.config.learning_rate)
        return factor * learning_rate(self.step, self.config)

    # --- the state

    def tensors(self) -> dict[str, Tensor]:
        """LoRA weights, Adam moments, the adversary's and the latent source's memory."""
        tensors = self.descent.weights()
        tensors.update({f"adam/{name}": value for name, value in self.descent.tensors().items()})
        tensors.update({f"adversary/{name}": value for name, value in self.adversary.tensors().items()})
        tensors.update({f"latents/{name}": value for name, value in self.source.tensors().items()})
        tensors.update({f"rehearsal/{name}": value for name, value in self._rehearsal.tensors().items()})
        if self.defence is not None:
            tensors.update({f"defence/{name}": value for name, value in self.defence.tensors().items()})
        best = self.steering.tensors() if self.steering is not None else (self._steering_state or ({}, {}))[0]
        tensors.update({f"best/{name}": weight for name, weight in best.items()})
        if self._start is not None and self.step < MEASURED[-1]:
            tensors.update({f"start/{name}": weight for name, weight in self._start.items()})
        return tensors

    def meta(self) -> dict[str, Any]:
        rows = self.model.rows["training"]
        return {
            "step": self.step,
            "rows": int(rows.total),
            "gradient_rows": int(rows.gradient),
            "calls": int(rows.calls),
            "seconds": self._seconds,
            "scaler": self.descent.meta(),
            "pace": None if self._pace is None else self._pace.meta(),
            "defence": None if self.defence is None else self.defence.meta(),
            "steering": self.steering.meta() if self.steering is not None else (self._steering_state or (0, None))[1],
        }

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Go on where :meth:`tensors` and :meth:`meta` were taken."""
        part = partial(part_of, tensors)
        self.descent.put_back(tensors)
        if self._start is not None:
            self._start = part("start") or self._start
        self.descent.load(part("adam"), meta["scaler"])
        self.adversary.load_tensors(part("adversary"))
        self.source.load_tensors(part("latents"))
        self._rehearsal.load_tensors(part("rehearsal"))
        self.adversary.move(self.model.device)
        self.source.move(self.model.device)
        self.step = meta["step"]
        self._seconds = meta["seconds"]
        if self._pace is not None and meta.get("pace"):
            self._pace.load(meta["pace"])
        if self.defence is not None and meta.get("defence") is not None:
            self.defence.load(part("defence"), meta["defence"])
        self.model.rows["training"] = Rows(meta["rows"], meta["gradient_rows"], meta.get("calls", 0))
        if meta.get("steering"):
            self._steering_state = part("best"), meta["steering"]
            if self.steering is not None:
                self.steer(self.steering)

    def move(self, device: torch.device | str) -> None:
        """What it holds besides the model, which was moved before."""
        self.descent.move(device)
        self.adversary.move(device)
        self.source.move(device)
        if self.defence is not None:
            self.defence.move(device)
        if self.steering is not None:
            self.steering.move(device)
        if self._start is not None:
            self._start = {name: tensor.to(device) for name, tensor in self._start.items()}


def learning_rate(step: int, config: EraseConfig) -> float:
    """The learning rate of update ``step`` (from 0): a linear warm-up, then the schedule down to 0 at the end."""
    warmup = min(config.warmup, config.updates // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    passed = (step - warmup) / max(1, config.updates - warmup)
    factor = {"constant": 1.0, "linear": 1 - passed, "cosine": (1 + math.cos(math.pi * passed)) / 2}
    return config.learning_rate * factor[config.schedule]
