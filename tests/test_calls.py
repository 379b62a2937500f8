"""What an update takes is shared out among its parts, and nothing is counted twice."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from benchmarks import calls
from benchmarks.calls import GOAL, SAMPLING, SEARCH, UPDATE, Meter, measure, rows_per_second, table
from benchmarks.compiled import rows_until_worth_while
from erasure.config.values import config_from_dict
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.model import Model
from erasure.model.rows import Rows


class _Work:
    """Calls of a model inside of each other, as sampling is inside of a search."""

    def __init__(self, model: Model):
        self._model = model

    def outer(self) -> str:
        self.call(2)
        self.inner()
        self.call(3)
        return "done"

    def inner(self) -> None:
        self.call(1)

    def call(self, rows: int) -> None:
        self._model.rows.count(rows)


def test_what_an_inner_part_takes_is_not_the_outers(tiny_model: Model) -> None:
    work, meter = _Work(tiny_model), Meter(tiny_model)
    meter.watch(work, "outer", SEARCH)
    meter.watch(work, "inner", GOAL)
    work.call(100)  # before any part
    with meter.part(UPDATE):
        work.call(7)
        assert work.outer() == "done"
    found = {part: rows for part, (rows, _) in meter.spent.items()}
    assert found == {UPDATE: Rows(7, 0, 1), SEARCH: Rows(5, 0, 2), GOAL: Rows(1, 0, 1)}
    assert all(seconds > 0 for _, seconds in meter.spent.values())


def test_every_part_of_an_update_is_measured(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "rows_per_second", lambda model, most, **given: 7.0)
    words = tmp_path / "words.txt"
    words.write_text("dog\ntower\nbell\ncar\n", encoding="utf-8")
    config = config_from_dict(
        {
            "erase": ["church"],
            "vocabulary": "file",
            "vocabulary_file": str(words),
            "synonym_threshold": 0.0,
            "start": "zero",
            "pace": 0.0,
            "rehearsed": 0,
            "sampling_steps": 4,
            "rank": 1,
            "look_every": 0,
        }
    )
    each, plain = measure(inspect_checkpoint(tiny_checkpoint), config, "cpu", 2)
    assert plain == 7.0
    assert each.keys() == {UPDATE, SAMPLING, SEARCH, GOAL}
    assert each[UPDATE][0].calls == 1
    assert each[GOAL][0].calls == 1
    assert all(rows.total > 0 for rows, _ in each.values())


def test_the_table_says_how_far_an_update_is_from_the_least() -> None:
    shown = table({UPDATE: (Rows(12, 4, 5), 2.0), GOAL: (Rows(8, 0, 1), 0.5)}, 2, 100.0)
    assert re.search(r"\| an update \| 20\.0 \| 4\.0 \| 6\.00 \| 3\.3 \| 2500 \|", shown)
    assert "2.0 times the least rows (10), 3.0 times the least calls (2)" in shown
    assert "8.0 rows per second; large batches without gradients: 100.0" in shown


def test_throughput_counts_the_rows_of_the_calls(tiny_model: Model) -> None:
    assert rows_per_second(tiny_model, 3, least_seconds=0) > 0
    assert tiny_model.rows.all == Rows(9, 0, 3)  # the first call is not timed
    assert torch.is_grad_enabled()


def test_compiling_saves_its_time_only_if_rows_are_faster() -> None:
    assert rows_until_worth_while(10.0, plain=10.0, compiled=20.0) == pytest.approx(200)  # 0.05 s are saved per row
    assert rows_until_worth_while(10.0, plain=10.0, compiled=10.0) == math.inf
