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
    copied = tmp_path / "text-0.001" / "spaces" / "one.json"
    assert [path for path in (tmp_path / "text-0.001").rglob("*") if path.is_file()] == [copied]
    copied.write_text("{1: 2}")
    assert rates.run("text", 0.001, tmp_path, []) == 0
    assert copied.read_text() == "{1: 2}"  # what its own bench has added stays


def test_a_table_has_a_line_for_each_rate_on_sets_that_all_were_run_on(tmp_path: Path) -> None:
    def add(folder: str, esr: float, target_set: str = "doubles-1", *, start: str = "text-encoder") -> None:
        row: dict[str, Any] = {**_row("adversarial", target_set), "config": {"start": start}, "updates": 5}
        append_row(tmp_path / folder / "results.jsonl", {**row, "after": {"ESR-1": esr, "near kept": 90.0}})

    add("default", 100.0)
    add("default", 0.0, "doubles-2")
    add("text-0.004", 95.0)
    add("text-0.0005", 10.0)
    add("text-0.0005", 50.0)  # the same run again: this one counts
    add("text-0.0005", 0.0, "doubles-2")
    add("text-0.008", 100.0, "style-flat", start="zero")  # has no such edit
    (tmp_path / "text-rates.svg").write_text("")
    (found,) = rates.found(tmp_path, "text")
    assert list(found.by_rate) == [0.0005, 0.004]
    cells = [[cell.strip() for cell in line.split("|")] for line in rates.table([found]).splitlines()[2:]]
    assert [line[3] for line in cells] == ["50.0", "95.0", "100.0"]
    assert {line[8] for line in cells} == {"90.0"}
    assert cells[-1][1:3] == ["x, doubles, text encoders, as the run finds it", "1"]
    assert rates.found(tmp_path, "unet") == []


@pytest.mark.parametrize("flags", [["--rates", "none"], ["--rates", "0"], ["--", "--engine", "ray"]])
def test_what_cannot_be_run_is_refused_before_work_starts(
    flags: list[str], called: list[tuple[list[str], tuple[float, ...]]], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        rates.main(["run", "text", "--folder", str(tmp_path), *flags])
    assert called == []
