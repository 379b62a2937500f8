from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from erasure.config.values import config_from_dict
from erasure.lora.adapter import DOWN, UP, inject_lora, lora_layers, lora_state, text_values
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.closed_start_sizes import STRENGTHS
from erasure.training.events import Note
from erasure.training.start_strength import ENOUGH, Strength, least_strength, scaled
from erasure.training.steering import Steering
from erasure.training.trainer import Trainer
from tests.spaces import space_of
from tests.updates import updates


def _level(enough_from: float, put: list[float]) -> Callable[[], float]:
    return lambda: ENOUGH if put[-1] >= enough_from else 0.5


@pytest.mark.parametrize("enough_from", STRENGTHS)
def test_the_least_strength_with_which_hardly_anything_is_left_is_taken(enough_from: float) -> None:
    put: list[float] = []
    assert least_strength(put.append, _level(enough_from, put)) == Strength(enough_from, ENOUGH)
    assert put[-1] == enough_from


def test_where_none_suffices_the_greatest_is_taken() -> None:
    put: list[float] = []
    assert least_strength(put.append, _level(99.0, put)) == Strength(STRENGTHS[-1], 0.5)
    assert put == list(STRENGTHS)


def test_only_the_change_of_values_is_scaled(tiny_models: ModelParts) -> None:
    inject_lora(tiny_models.unet, "xattn", 2, 2.0, 0)
    lora = {key: torch.ones_like(weight) for key, weight in lora_state(tiny_models.unet).items()}
    values = text_values(lora_layers(tiny_models.unet))
    for name in lora_layers(tiny_models.unet):
        found = scaled(lora, 1.5)
        assert (found[name + DOWN] == 1.0).all()
        assert (found[name + UP] == (1.5 if name in values else 1.0)).all()


class _Watched:
    """Stands in for the steering: from the given number of strengths on, hardly anything is left."""

    def __init__(self, enough_at: int):
        self.tells = True
        self.ended = False
        self.best_step = 0
        self.soon = False
        self.tried = 0
        self._enough_at = enough_at

    def level(self) -> float:
        self.tried += 1
        return 0.0 if self.tried >= self._enough_at else 1.0

    def look_soon(self) -> None:
        self.soon = True

    def __getattr__(self, name: str) -> Callable[..., object]:
        kept: dict[str, object] = {"due": False, "worked_on": [0], "tensors": {}, "meta": None}
        return lambda *given: kept.get(name, False)


def _trainer(models: ModelParts, watched: _Watched | None, **settings: object) -> Trainer:
    given = {"erase": ["church"], "steps": 12, "sampling_steps": 3, "warmup": 0, "rank": 2, "pace": 0.02}
    config = config_from_dict({**given, **settings})
    inject_lora(models.unet, config.layers, config.rank, config.alpha, config.seed)
    trainer = Trainer(Model(models), space_of("church"), config)
    if watched is not None:
        trainer.steer(cast("Steering", watched))
    return trainer


def test_training_starts_as_strong_as_it_must_and_says_so(tiny_models: ModelParts) -> None:
    watched = _Watched(enough_at=3)
    trainer = _trainer(tiny_models, watched)
    first = lora_state(tiny_models.unet)
    note = next(iter(trainer))
    assert isinstance(note, Note)
    assert f"at {STRENGTHS[2]:g} times its strength" in note.text
    assert watched.tried == 3
    assert watched.soon
    for key, weight in scaled(first, STRENGTHS[2]).items():
        assert torch.equal(lora_state(tiny_models.unet)[key], weight)


def test_where_much_is_left_the_first_look_is_not_brought_forward(tiny_models: ModelParts) -> None:
    watched = _Watched(enough_at=99)
    next(iter(_trainer(tiny_models, watched)))
    assert not watched.soon


@pytest.mark.parametrize(
    "unknown", [SimpleNamespace(start="zero"), SimpleNamespace(layers="noxattn"), SimpleNamespace()], ids=str
)
def test_without_an_edit_or_a_judge_that_tells_nothing_is_measured(
    tiny_models: ModelParts, unknown: SimpleNamespace
) -> None:
    watched = _Watched(enough_at=1)
    watched.tells = bool(vars(unknown))
    trainer = _trainer(tiny_models, watched, **vars(unknown))
    next(iter(trainer))
    assert not watched.tried


def test_a_run_that_is_resumed_while_the_pace_is_measured_knows_how_strong_its_start_was(
    tiny_models: ModelParts,
) -> None:
    other = copy.deepcopy(tiny_models)
    whole = _trainer(tiny_models, _Watched(enough_at=2))
    training = iter(whole)
    assert isinstance(next(training), Note)
    for _ in range(4):
        next(training)
    tensors, meta = whole.tensors(), whole.meta()
    list(training)
    resumed = _trainer(other, watched := _Watched(enough_at=9))
    resumed.load(tensors, meta | {"steering": None})
    assert [step.step for step in updates(resumed)] == list(range(5, 13))
    assert not watched.tried
    for name, weight in lora_state(tiny_models.unet).items():
        assert torch.equal(weight, lora_state(other.unet)[name]), name
