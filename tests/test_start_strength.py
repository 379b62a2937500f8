from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from erasure.config.values import config_from_dict
from erasure.lora.adapter import inject_lora, lora_state
from erasure.model.drawing import run_to_end
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.closed_start import NAME_WEIGHT, ClosedStart
from erasure.training.closed_start_sizes import ROUNDS, STRENGTHS
from erasure.training.events import Note
from erasure.training.start_strength import (
    FARTHER,
    HEAVIER,
    OF_CLOSED_FORM,
    OF_TEXT,
    Limits,
    Strength,
    find_strength,
)
from erasure.training.steering import Steering
from erasure.training.trainer import Trainer
from tests.spaces import space_of
from tests.stage_edits import exact
from tests.updates import updates

MUCH = 0.9


class _Edit:
    """Stands in for the edit and for samples: each target and name is gone once it was made so strong."""

    def __init__(self, gone_at: Mapping[int, float], names: Mapping[str, tuple[int, float]] | None = None):
        self.strengths = dict.fromkeys(gone_at, 0.0)
        self.weights = dict.fromkeys(names or {}, NAME_WEIGHT)
        self.asked: list[tuple[list[int], list[str]]] = []
        self.put_with: list[dict[int, float]] = []
        self._gone_at = gone_at
        self._names = names or {}

    def strengthen(self, strength: float) -> None:
        self.strengths = dict.fromkeys(self.strengths, strength)

    def strengthen_targets(self, more: Mapping[int, float]) -> None:
        for target, by in more.items():
            self.strengths[target] += by

    def weigh_names(self, names: Mapping[str, int], times: float) -> None:
        for name, target in names.items():
            assert target == self._names[name][0]
            self.weights[name] *= times

    @property
    def known(self) -> Collection[int]:
        return self._gone_at.keys()

    def put(self) -> Iterator[float]:
        self.put_with.append(dict(self.strengths))
        yield 1.0

    def known_names(self) -> dict[str, int]:
        return {name: target for name, (target, _) in self._names.items()}

    def levels(self, targets: Collection[int], names: Collection[str]) -> tuple[dict[int, float], dict[str, float]]:
        self.asked.append((list(targets), list(names)))
        assert self.put_with[-1] == self.strengths, "what is looked at is in place"
        return (
            {target: 0.0 if self.strengths[target] >= self._gone_at[target] else MUCH for target in targets},
            {name: 0.0 if self.weights[name] >= self._names[name][1] - 1e-9 else MUCH for name in names},
        )


def _found(edit: _Edit, limits: Limits = OF_CLOSED_FORM) -> Strength:
    return run_to_end(find_strength(edit, edit.put, edit, limits))


def test_the_least_strength_with_which_hardly_anything_is_left_is_taken() -> None:
    for strength in STRENGTHS:
        edit = _Edit({0: strength, 1: 1.0})
        found = _found(edit)
        assert found.whole == strength
        assert found.strengths == {0: strength, 1: strength}
        assert found.levels == {0: 0.0, 1: 0.0}
        assert edit.put_with[-1] == edit.strengths


def test_hardly_anything_in_all_of_them_is_not_enough_for_one_that_is_still_shown() -> None:
    assert OF_CLOSED_FORM.enough <= OF_CLOSED_FORM.shown
    edit = _Edit(dict.fromkeys(range(40), 1.0) | {40: STRENGTHS[-1] + FARTHER})
    found = _found(edit)
    assert found.whole == STRENGTHS[0]
    assert found.strengths[40] == STRENGTHS[-1] + FARTHER
    assert found.strengths[0] == STRENGTHS[0]


def test_pictures_that_show_less_than_nothing_of_one_target_do_not_speak_for_another() -> None:
    class Overdone(_Edit):
        def levels(self, targets: Collection[int], names: Collection[str]) -> tuple[dict[int, float], dict[str, float]]:
            levels, shown = super().levels(targets, names)
            return {target: level or -9.0 for target, level in levels.items()}, shown

    edit = Overdone({0: 1.0, 1: STRENGTHS[1]})
    assert _found(edit).whole == STRENGTHS[1]


def test_text_encoders_begin_farther_and_may_go_farther() -> None:
    edit = _Edit({0: 1.0, 1: 99.0})
    assert _found(edit, OF_TEXT).strengths == pytest.approx({0: OF_TEXT.strengths[-1], 1: OF_TEXT.farthest})
    assert OF_TEXT.strengths[0] > OF_CLOSED_FORM.strengths[0]
    assert OF_TEXT.farthest > OF_CLOSED_FORM.farthest


def test_only_targets_that_are_still_shown_are_moved_farther() -> None:
    edit = _Edit({0: 1.0, 1: STRENGTHS[-1] + FARTHER})
    found = _found(edit)
    assert found.strengths == edit.strengths == {0: STRENGTHS[-1], 1: STRENGTHS[-1] + FARTHER}
    assert edit.asked[-1] == ([1], [])


def test_a_target_that_stays_is_not_moved_without_end() -> None:
    edit = _Edit({0: 99.0})
    found = _found(edit)
    assert found.strengths == {0: OF_CLOSED_FORM.farthest}
    assert found.levels == {0: MUCH}
    assert len(edit.put_with) <= len(STRENGTHS) + ROUNDS


def test_only_names_that_are_still_recognised_weigh_more() -> None:
    edit = _Edit({0: 1.0}, {"chapel": (0, NAME_WEIGHT * HEAVIER), "abbey": (0, 0.0), "minster": (0, 99.0)})
    found = _found(edit)
    assert found.names == ("chapel", "minster")
    assert edit.weights == {
        "chapel": pytest.approx(NAME_WEIGHT * HEAVIER),
        "abbey": NAME_WEIGHT,
        "minster": pytest.approx(NAME_WEIGHT * HEAVIER**ROUNDS),
    }
    # None is looked at again once it is gone.
    assert [names for _, names in edit.asked] == [[], ["chapel", "abbey", "minster"], ["chapel", "minster"],
                                                  ["minster"], ["minster"]]  # fmt: skip


def test_a_name_waits_while_its_target_is_moved() -> None:
    edit = _Edit({0: STRENGTHS[-1] + FARTHER}, {"chapel": (0, NAME_WEIGHT * HEAVIER)})
    _found(edit)
    assert edit.asked[-3:] == [([], ["chapel"]), ([0], ["chapel"]), ([], ["chapel"])]


def test_what_was_found_is_said() -> None:
    edit = _Edit({0: 1.0, 1: STRENGTHS[-1] + FARTHER}, {"chapel": (0, NAME_WEIGHT * HEAVIER)})
    told = _found(edit).told(["church", "truck"])
    assert f"{STRENGTHS[-1]:g} times its strength (truck at {STRENGTHS[-1] + FARTHER:g}, chapel weighs more)" in told
    assert "show 0 % of" in told


class _Watched:
    """Stands in for the steering: hardly anything is left after so many looks."""

    def __init__(self, enough_at: int):
        self.known = [0]
        self.ended = False
        self.best_step = 0
        self.soon = False
        self.tried = 0
        self._enough_at = enough_at

    def levels(self, targets: Collection[int], names: Collection[str]) -> tuple[dict[int, float], dict[str, float]]:
        self.tried += bool(targets)
        return dict.fromkeys(targets, 0.0 if self.tried >= self._enough_at else 1.0), {}

    def known_names(self) -> dict[str, int]:
        return {}

    def look_soon(self) -> None:
        self.soon = True

    def __getattr__(self, name: str) -> Callable[..., object]:
        kept: dict[str, object] = {"due": False, "worked_on": [0], "tensors": {}, "meta": None}
        return lambda *given: kept.get(name, False)


def _trainer(models: ModelParts, watched: _Watched | None, **settings: object) -> Trainer:
    given = {
        "erase": ["church"],
        "start": "closed-form",
        "steps": 12,
        "sampling_steps": 3,
        "warmup": 0,
        "rank": 2,
        "pace": 0.02,
    }
    config = config_from_dict({**given, **settings})
    inject_lora(models.unet, config.layers, config.rank, config.alpha, config.seed)
    trainer = Trainer(Model(models), space_of("church"), config)
    if watched is not None:
        trainer.steer(cast("Steering", watched))
    return trainer


def test_training_starts_as_strong_as_it_must_and_says_so(tiny_models: ModelParts) -> None:
    watched = _Watched(enough_at=len(STRENGTHS) + 1)
    trainer = _trainer(tiny_models, watched)
    first = {key: weight.clone() for key, weight in lora_state(tiny_models.unet).items()}
    note = next(iter(trainer))
    assert isinstance(note, Note)
    assert f"church at {STRENGTHS[-1] + FARTHER:g}" in note.text
    assert watched.tried == len(STRENGTHS) + 1
    assert watched.soon
    config = trainer.config
    inject = lora_state(tiny_models.unet)
    changed = [key for key, weight in first.items() if not torch.equal(weight, inject[key])]
    assert changed
    assert config.erase == ("church",)


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
    watched.known = [0] if vars(unknown) else []
    trainer = _trainer(tiny_models, watched, **vars(unknown))
    next(iter(trainer))
    assert not watched.tried


@pytest.mark.parametrize("looks", [True, False])
def test_where_no_samples_tell_the_edit_is_as_strong_as_most_targets_need(tiny_models: ModelParts, looks: bool) -> None:
    watched = _Watched(enough_at=1)
    watched.known = []
    trainer = _trainer(tiny_models, watched if looks else None)
    first = trainer._first
    assert first is not None
    assert isinstance(first.edit, ClosedStart)
    next(iter(trainer))
    assert first.edit._strength == OF_CLOSED_FORM.blind


def test_a_run_that_is_resumed_while_the_pace_is_measured_knows_its_start(tiny_models: ModelParts) -> None:
    other = copy.deepcopy(tiny_models)
    whole = _trainer(tiny_models, _Watched(enough_at=3))
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
    assert not any(key.startswith("start/") for key in resumed.tensors()), "the start is not kept for longer"


def test_a_stronger_edit_moves_what_is_read_of_its_target_and_name_farther(all_layers_models: ModelParts) -> None:
    config = config_from_dict({"erase": ["church"], "rank": 4})
    inject_lora(all_layers_models.unet, config.layers, config.rank, config.alpha, config.seed)
    edit = ClosedStart(Model(all_layers_models), space_of("church"), config)
    first = {stage: exact(found) for stage, found in edit.edits()}
    edit.strengthen(1.5)
    for stage, found in edit.edits():
        assert torch.allclose(exact(found), 1.5 * first[stage], rtol=1e-4, atol=1e-8)
    edit.strengthen(1.0)
    edit.strengthen_targets({0: 0.5})
    farther = {stage: exact(found) for stage, found in edit.edits()}
    for stage, change in farther.items():
        assert torch.allclose(change, 1.5 * first[stage], rtol=1e-3, atol=1e-6)
    edit.weigh_names({"chapel": 0}, 11.0)
    assert all(not torch.allclose(exact(found), farther[stage], rtol=1e-2) for stage, found in edit.edits())
