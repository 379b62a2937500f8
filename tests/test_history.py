from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from erasure.config.values import config_from_dict
from erasure.jobs.history import MOST_POINTS, History


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
    assert history.seconds_left == 0


def test_a_method_that_preserves_nothing_has_no_picks() -> None:
    history = _history()
    history.see(_step(1, ()))
    assert (history.picks, history.current_pick) == ((), "")
