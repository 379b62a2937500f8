from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from erasure.config.values import config_from_dict
from erasure.jobs.history import MOST_POINTS, History
from erasure.run.events import Judged, event_to_dict
from erasure.training.events import Look
from tests.verdicts import a_verdict


def _history(**settings: Any) -> History:
    return History.of(config_from_dict({"erase": ["church"], "steps": 1000, **settings}))


def _step(step: int, preserved: tuple[str, ...] = ("dog",), seconds: float | None = None) -> dict[str, Any]:
    return {
        "event": "step",
        "step": step,
        "steps": 1000,
        "erase_loss": step / 10,
        "preserve_loss": step / 20,
        "erased": ["church"],
        "preserved": list(preserved),
        "learning_rate": 1e-4,
        "rows": 8 * step,
        "seconds": float(step if seconds is None else seconds),
    }


@pytest.mark.parametrize("count", [1, 299, 300, 301, 1000])
def test_losses_are_thinned_evenly_and_end_with_the_last_update(count: int) -> None:
    history = _history()
    for step in range(1, count + 1):
        history.see(_step(step))
    assert set(history.series) == {"erase", "preserve"}
    steps = [step for step, _ in history.series["erase"]]
    assert [step for step, _ in history.series["preserve"]] == steps
    assert len(steps) == len(set(steps))
    assert min(count, MOST_POINTS // 2) <= len(steps) <= MOST_POINTS
    assert steps[-1] == count
    assert len({b - a for a, b in pairwise(steps)}) <= 1
    assert all(value == step / 10 for step, value in history.series["erase"])
    assert all(value == step / 20 for step, value in history.series["preserve"])


def test_updates_that_are_made_again_count_once() -> None:
    history = _history()
    for step in (1, 2, 3, 4, 5):
        history.see(_step(step, ("dog",)))
    for step in (3, 4):
        history.see(_step(step, ("bus",)))
    for points in history.series.values():
        assert [step for step, _ in points] == [1, 2, 3, 4]
    assert dict(history.picks) == {"dog": 2, "bus": 2}
    assert history.step == 4
    assert history.current_pick == "bus"


def _measured(step: int, value: float) -> dict[str, Any]:
    return {"event": "measured", "step": step, "series": "ESR-1", "value": value}


def test_what_was_measured_is_kept_by_its_name_and_thinned_like_the_losses() -> None:
    history = _history()
    for step in range(1, 1001):
        history.see(_step(step))
        history.see(_measured(step, step / 1000))
    points = history.series["ESR-1"]
    assert points[-1] == (1000, 1.0)
    assert [step for step, _ in points] == [step for step, _ in history.series["erase"]]


def test_what_was_measured_again_counts_once() -> None:
    history = _history()
    for step in (1, 2, 3):
        history.see(_step(step))
        history.see(_measured(step, 0.5))
    history.see(_measured(3, 0.75))
    assert history.series["ESR-1"] == ((1, 0.5), (2, 0.5), (3, 0.75))
    history.see(_step(2))
    assert list(history.series["ESR-1"]) == [(1, 0.5)]


def test_picks_are_those_of_the_search_by_their_bare_names() -> None:
    history = _history(
        batch=2, preserve=["hut"], templates=["{}", "a photo of {}", "a photo of {} at night", "hill[ by {}]"]
    )
    history.see(_step(1, ("a photo of dog at night", "bus", "a photo of hut")))
    history.see(_step(2, ("a photo of bus", "hill by bus", "hut")))
    assert history.picks == (("bus", 3), ("dog", 1))


def test_time_left_follows_the_speed_of_the_last_updates() -> None:
    history = _history()
    assert history.seconds_left is None
    history.see(_step(1, seconds=100.0))
    assert history.seconds_left == pytest.approx(999 * 100.0)
    for step in range(2, 101):
        history.see(_step(step, seconds=100.0 + step))
    assert history.seconds_left == pytest.approx(900.0)
    history.see(_step(1000))
    assert history.seconds_left is None


def test_a_method_that_preserves_nothing_has_no_picks() -> None:
    history = _history()
    history.see(_step(1, ()))
    assert (history.picks, history.current_pick) == ((), "")


# --- looks and verdicts


def _look(step: int, recognised: Any, kept: Any = 0.5) -> dict[str, Any]:
    return {"event": "look", "step": step, "recognised": recognised, "kept": kept}


def test_looks_give_a_series_for_each_target_and_one_for_what_is_kept() -> None:
    history = _history()
    history.see(_step(1))
    history.see(_look(1, {"church": [2, 4], "truck": (3, 3)}, 0.9))
    history.see(_step(2))
    history.see(_look(2, {"church": [0, 4], "truck": [3, 3]}, None))
    assert history.series["recognised church"] == ((1, 0.5), (2, 0.0))
    assert history.series["recognised truck"] == ((1, 1.0), (2, 1.0))
    assert history.series["kept"] == ((1, 0.9),)


def test_looks_after_the_state_of_a_resumed_run_are_forgotten() -> None:
    history = _history()
    for step in (1, 2, 3):
        history.see(_step(step))
        history.see(_look(step, {"church": [step, 3]}))
    history.see(_step(2))
    assert history.series["recognised church"] == ((1, 1 / 3),)
    assert history.series["kept"] == ((1, 0.5),)


@pytest.mark.parametrize(
    ("recognised", "kept"),
    [
        ({"church": [1, 0]}, 0.5),
        ({"church": [4, 3]}, 0.5),
        ({"church": [1]}, 0.5),
        ({"church": 1}, 0.5),
        ("church", 0.5),
        ({"church": [1, 3]}, float("nan")),
        ({"church": [1, 3]}, 1.5),
        ({"church": [1, 3]}, "much"),
    ],
)
def test_a_look_that_makes_no_sense_is_refused_whole(recognised: Any, kept: Any) -> None:
    history = _history()
    with pytest.raises((TypeError, ValueError)):
        history.see(_look(1, recognised, kept))
    assert history.series == {}


def test_a_verdict_counts_until_its_weights_are_trained_on() -> None:
    history = _history()
    history.see(_step(1))
    history.see({"event": "judged", "step": 1, "verdict": a_verdict(step=1).to_dict()})
    history.see({"event": "saved", "step": 1, "path": "x", "final": True, "change": 12.0})
    assert history.verdict == a_verdict(step=1)
    history.see(_step(2))
    assert history.verdict is None


def test_events_are_read_as_a_run_writes_them() -> None:
    history = _history()
    history.see(event_to_dict(Look(20, {"church": (1, 4)}, 0.75)))
    history.see(event_to_dict(Judged(20, a_verdict(left=2))))
    assert (history.series["recognised church"], history.series["kept"]) == (((20, 0.25),), ((20, 0.75),))
    assert history.verdict == a_verdict(left=2)
