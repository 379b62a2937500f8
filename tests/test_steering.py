from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from erasure.judge.scale import Scale
from erasure.lora.adapter import inject_lora, lora_parameters, lora_state
from erasure.model.model import Model
from erasure.training.steering import Steering
from erasure.verdict.examination import Examination
from erasure.verdict.panel import Member, panel_shots

PANEL = (
    Member("church", "target", 0, 2),
    Member("truck", "target", 1, 2),
    Member("chapel", "name", 0, 1),
    Member("abbey", "near", 0, 1),
    Member("day", "unrelated", -1, 1),
)


class _Seen:
    """Stands in for an examination: what a look sees of each concept is written down, look by look."""

    def __init__(self, *looks: dict[str, float], known: bool = True):
        self.panel = PANEL
        self.shots = panel_shots(PANEL, ("{}",))
        self._looks = list(looks)
        self._known = known

    def scale(self, member: int) -> Scale:
        return Scale(1.0, 0.0) if self._known else Scale(0.1, 0.0)

    def look(self, shots: Sequence[int]) -> list[float]:
        seen = self._looks.pop(0)
        return [seen.get(PANEL[self.shots[k].member].concept, 0.0) for k in shots]


def _steering(model: Model, *looks: dict[str, float], known: bool = True) -> Steering:
    if not lora_parameters(model.unet):
        inject_lora(model.unet, "xattn", 1, 1.0, 0)
    examination: Examination = _Seen(*looks, known=known)  # type: ignore[assignment]
    return Steering(model, examination, every=10, updates=35)


def test_it_looks_at_intervals_and_after_the_last_update(tiny_model: Model) -> None:
    steering = _steering(tiny_model)
    assert [step for step in range(1, 36) if steering.due(step)] == [10, 20, 30, 35]


def test_it_ends_when_all_is_gone_in_two_looks_in_a_row(tiny_model: Model) -> None:
    gone, back = {"abbey": 1.0}, {"truck": 1.0, "abbey": 1.0}
    steering = _steering(tiny_model, gone, back, gone, gone)
    ended = []
    for step in (10, 20, 30, 35):
        steering.look(step)
        ended.append(steering.ended)
    assert ended == [False, False, False, True]


def test_a_name_that_is_left_counts_as_its_target(tiny_model: Model) -> None:
    steering = _steering(tiny_model, {"chapel": 1.0})
    look = steering.look(10)
    assert look.recognised == {"church": (1, 3), "truck": (0, 2)}
    assert steering.worked_on() == [0]


def test_updates_go_to_what_is_not_gone(tiny_model: Model) -> None:
    steering = _steering(tiny_model, {"truck": 1.0}, {})
    assert steering.worked_on() == [0, 1]
    steering.look(10)
    assert steering.worked_on() == [1]
    steering.look(20)
    assert steering.worked_on() == [0, 1]


def test_the_weights_of_the_look_with_least_left_and_most_kept_stay(tiny_model: Model) -> None:
    looks = {"church": 1.0, "abbey": 1.0}, {"abbey": 0.9}, {"abbey": 0.4}
    steering = _steering(tiny_model, *looks)
    kept = None
    for number, step in enumerate((10, 20, 30)):
        with torch.no_grad():
            for weight in lora_parameters(tiny_model.unet):
                weight.fill_(float(number))
        steering.look(step)
        if step == 20:
            kept = lora_state(tiny_model.unet)
    assert steering.keep_best() == 20
    assert kept is not None
    assert all(torch.equal(weight, kept[name]) for name, weight in lora_state(tiny_model.unet).items())


def test_it_goes_on_where_its_state_was_taken(tiny_model: Model) -> None:
    gone = {"abbey": 1.0}
    first = _steering(tiny_model, gone)
    first.look(10)
    second = _steering(tiny_model, gone)
    second.load(first.tensors(), first.meta())
    second.look(20)
    assert second.ended
    assert second.best_step == 20


def test_it_never_looks_for_what_the_judge_cannot_tell(tiny_model: Model) -> None:
    steering = _steering(tiny_model, known=False)
    assert not any(steering.due(step) for step in range(1, 36))
    assert not steering.ended


@pytest.mark.parametrize("known", [True, False])
def test_without_a_look_nothing_is_put_back(tiny_model: Model, known: bool) -> None:
    assert _steering(tiny_model, known=known).keep_best() == 0
