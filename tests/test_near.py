from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from erasure.bench.cell import Bench, Cell
from erasure.bench.near import near_figures
from erasure.bench.suite import SuiteOptions
from erasure.bench.variant import variant
from erasure.bench.work import work
from erasure.cli import main
from erasure.model.drawing import run_to_end
from erasure.verdict.examination import Examination
from erasure.verdict.verdict import Finding
from tests.test_bench import bench  # noqa: F401

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.slow]


def _word(name: str, after: int, score: float, *, as_target: int = 0) -> Finding:
    return Finding(name, "near", "church", 4, 4, after, score / 2, 0.5, as_target, score_before=2.0, score_after=score)


def test_the_figures_are_the_share_kept_the_score_of_before_and_how_far_pictures_moved() -> None:
    found = near_figures([_word("castle", 4, 1.6), _word("tower", 1, 0.4)])
    assert found == {"near kept": 50.0, "near score": 50.0, "near moved": 0.5}


def test_words_that_are_drawn_as_the_target_are_left_out_unless_all_are() -> None:
    castle, chapel = _word("castle", 4, 1.6), _word("chapel", 0, 0.0, as_target=4)
    assert near_figures([castle, chapel])["near kept"] == 100
    assert near_figures([chapel])["near kept"] == 0
    assert near_figures([]) == {}


def test_what_was_found_before_is_shared_by_all_methods(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """The words are those of the default, whatever a method itself would preserve, and are judged once before."""
    options = SuiteOptions(limit=1, steps=2, batch=4, metrics=("near",), near_words=2)
    judged: list[Examination] = []
    before = Examination.before

    def counted(examination: Examination) -> Generator[float, None, None]:
        judged.append(examination)
        return before(examination)

    monkeypatch.setattr(Examination, "before", counted)
    rows = [run_to_end(work(Cell(replace(bench, options=options), "single-church", variant(name), 0)))
            for name in ("uce", "time")]  # fmt: skip
    assert all(set(row["after"]) >= {"ESR-1", "PSR-1"} for row in rows)
    kept = list((bench.folder / "base").rglob("near-*.safetensors"))
    assert len(kept) == 1
    assert [sum(member.role == "near" for member in examination.panel) for examination in judged] == [2]


def test_too_few_words_are_an_error_before_work_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--folder", str(tmp_path), "--metrics", "near", "--near-words", "0"]) == 2
    assert "--near-words" in capsys.readouterr().err
