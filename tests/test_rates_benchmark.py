"""Erasing at learning rates of one's own is what a benchmark says it is, and its table what rows say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rates
from erasure.bench.results import append_row
from erasure.training import text_start
from tests.test_bench import _row


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], tuple[float, ...]]]:
    """Commands that were run, each with the rates that a run would try then."""
    found: list[tuple[list[str], tuple[float, ...]]] = []

    def main(argv: Sequence[str]) -> int:
        found.append((list(argv), vars(text_start)["RATES"]))
        return 0

    monkeypatch.setattr(rates, "erasure", main)
    return found


def test_a_rate_of_text_encoders_is_the_only_one_tried_and_only_for_its_bench(
    called: list[tuple[list[str], tuple[float, ...]]], tmp_path: Path
) -> None:
    tried = vars(text_start)["RATES"]
    for rate in (0.001, None):
        assert rates.run("text", rate, tmp_path, ["--seeds", "0"]) == 0
    (own, only), (_, every) = called
    assert only == (0.001,)
    assert every == vars(text_start)["RATES"] == tried
    assert own[own.index("--folder") + 1] == str(tmp_path / "text-0.001")


def test_what_stands_behind_two_dashes_goes_to_each_bench(
    called: list[tuple[list[str], tuple[float, ...]]], tmp_path: Path
) -> None:
    command = ["run", "text", "--folder", str(tmp_path), "--rates", "0.001,0.004", "--", "--sets", "single-church"]
    assert rates.main(command) == 0
    assert [own[1:3] for own, _ in called] == [["--sets", "single-church"]] * 2
    assert [only for _, only in called] == [(0.001,), (0.004,)]


def test_a_rate_of_the_unet_is_a_setting_that_is_not_adapted(
    called: list[tuple[list[str], tuple[float, ...]]], tmp_path: Path
) -> None:
    assert rates.run("unet", 0.004, tmp_path, []) == 0
    assert called[0][0][-1] == "adversarial+pace=0+learning_rate=0.004"


def test_what_no_rate_changes_is_made_once(called: list[tuple[list[str], tuple[float, ...]]], tmp_path: Path) -> None:
    made = tmp_path / "default" / "spaces" / "one.json"
    made.parent.mkdir(parents=True)
    made.write_text("{}")
    (tmp_path / "default" / "results.jsonl").write_text("")
    assert rates.run("text", 0.001, tmp_path, []) == 0
    assert sorted(path.name for path in (tmp_path / "text-0.001").rglob("*") if path.is_file()) == ["one.json"]


def test_a_table_has_a_line_for_each_rate_of_sets_that_the_default_was_run_on(tmp_path: Path) -> None:
    def add(folder: str, esr: float, **changes: Any) -> None:
        row = {**_row("adversarial", **changes), "after": {"ESR-1": esr}, "updates": 5}
        append_row(tmp_path / folder / "results.jsonl", row)

    add("default", 100.0)
    add("text-0.004", 95.0)
    add("text-0.0005", 50.0)
    add("text-0.0005", 0.0, target_set="doubles-2")
    (found,) = rates.found(tmp_path, "text")
    assert list(found.by_rate) == [0.0005, 0.004]
    lines = rates.table([found]).splitlines()[2:]
    assert [line.split("|")[3].strip() for line in lines] == ["50.0", "95.0", "100.0"]
    assert lines[-1].startswith("| x, doubles, text encoders, as the run finds it | 1 |")
    assert rates.found(tmp_path, "unet") == []
