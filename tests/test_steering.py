"""What steering makes of a state that it goes on from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from erasure.training.steering import Steering

ENDED: dict[str, Any] = {"gone": [0], "in_a_row": 2, "best_step": 40, "best_value": [0.0, 0.9], "updates": 300}


def _loaded(updates: int, meta: dict[str, Any]) -> Steering:
    model: Any = None
    examination: Any = SimpleNamespace(panel=())
    steering = Steering(model, examination, 20, updates)
    steering.load({"w": torch.ones(1)}, meta)
    return steering


def test_a_run_that_had_ended_has_ended_when_it_is_resumed() -> None:
    for meta in (ENDED, {key: value for key, value in ENDED.items() if key != "updates"}):
        steering = _loaded(300, meta)
        assert (steering.ended, steering.best_step) == (True, 40)
        assert steering.meta() == ENDED


def test_looks_begin_afresh_when_more_updates_are_wanted() -> None:
    steering = _loaded(450, ENDED)
    assert (steering.ended, steering.best_step, steering.tensors()) == (False, 0, {})
    assert _loaded(450, {**ENDED, "updates": 450}).best_step == 40
