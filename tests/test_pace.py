from __future__ import annotations

from functools import partial

import pytest
import torch

from erasure.config.values import config_from_dict
from erasure.lora.adapter import inject_lora
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.model.stage import Stage
from erasure.training.events import Note, Step
from erasure.training.pace import LARGEST, Pace, moved_shares
from erasure.training.pace_updates import MEASURED
from erasure.training.trainer import Trainer
from tests.spaces import space_of

AFTER = MEASURED[-1] + 1


def _paced(per_rate: float, wanted: float = 0.03) -> Pace:
    """Predictions that move by ``per_rate`` for each unit of learning rate, which is 0.001 all the time."""
    pace = Pace(wanted)
    for update in range(1, AFTER):
        share = per_rate * 0.001 * (update - 1)
        pace.note(update, 0.001, partial(torch.full, (1,), share))
    return pace


@pytest.mark.parametrize(
    ("per_rate", "factor"), [(30.0, 1.0), (60.0, 0.5), (10.0, 3.0), (1e6, 1 / LARGEST), (0.0, LARGEST)]
)
def test_the_rate_is_what_moves_predictions_as_wanted(per_rate: float, factor: float) -> None:
    assert _paced(per_rate).factor(AFTER, 0.001) == pytest.approx(factor)


def test_the_rate_is_as_given_until_all_is_measured() -> None:
    pace = _paced(60.0)
    assert [pace.factor(update, 0.001) for update in (1, AFTER - 1, AFTER)] == [1.0, 1.0, pytest.approx(0.5)]


def test_a_pace_goes_on_where_its_state_was_taken() -> None:
    pace, other = _paced(60.0), Pace(0.03)
    other.load(pace.meta())
    assert other.factor(AFTER, 0.001) == pace.factor(AFTER, 0.001) != 1.0


def test_shares_of_the_way_are_measured_row_by_row() -> None:
    own, anchor = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    tuned = torch.stack([torch.full((1, 2, 2), 0.25), torch.full((1, 2, 2), -2.0)])
    assert moved_shares(tuned, own, own, anchor).tolist() == pytest.approx([0.25, 2.0])
    assert moved_shares(tuned, tuned, own, anchor).tolist() == [0.0, 0.0]


def test_training_changes_its_rate_once_and_says_so(tiny_models: ModelParts) -> None:
    inject_lora(tiny_models.unet, "xattn_kv", 2, 2.0, 0)
    config = config_from_dict(
        {"erase": ["church"], "steps": AFTER + 2, "sampling_steps": 2, "rank": 2, "warmup": 0, "schedule": "constant",
         "learning_rate": 1e-4, "adversary": "uniform", "look_every": 0, "pace": 0.5}
    )  # fmt: skip
    events = list(Trainer(Model(tiny_models), space_of("church"), config))
    rates = [event.learning_rate for event in events if isinstance(event, Step)]
    assert rates[: AFTER - 1] == [1e-4] * (AFTER - 1)
    assert rates[AFTER - 1 :] == [pytest.approx(5e-4)] * 3
    events = [event for event in events if not isinstance(event, Stage)]
    notes = [event for event in events if isinstance(event, Note) and "the learning rate is" in event.text]
    assert len(notes) == 1
    assert events.index(notes[0]) == AFTER - 1 + 1, "after the note of the start"
