"""The bench: what a grid holds, that nothing is computed twice or lost, and that reports say what rows say."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from erasure.bench import grid, work
from erasure.bench.cell import Bench, Cell, cell_name, config_key
from erasure.bench.eta import Eta
from erasure.bench.extra_figures import extra_figures
from erasure.bench.grid import Failed, Finished, cells, run_here, todo_of
from erasure.bench.metrics import METRICS
from erasure.bench.plot import radius, scatter_svg
from erasure.bench.report import write_report
from erasure.bench.results import Row, append_row, current, finished, read_rows
from erasure.bench.shots import openers
from erasure.bench.statistics import base_figure, figure, paired, summary
from erasure.bench.suite import SuiteOptions
from erasure.bench.suites import SUITES, suite
from erasure.bench.tables import main_table, paired_table
from erasure.bench.variant import ABLATIONS, method_names, variant, variants
from erasure.cli import main
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, MissingExtra, OutputExists, RunError
from erasure.model.model import open_model as model_open
from erasure.run.beginning import erase as run_erase

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.slow]

WORDS = "truck\nbus\nhouse\ntower\nbell\ndog\n"


def _row(name: str, target_set: str = "doubles-1", seed: int = 0, **changes: Any) -> Row:
    row: Any = {
        "suite": "emoji",
        "family": "doubles",
        "set": target_set,
        "erase": ["church"],
        "variant": name,
        "seed": seed,
        "config_key": name,
        "config": {"erase": ["church"], "seed": seed},
        "evaluation_key": "e",
        "sha256": "0" * 64,
        "checkpoint": "x.safetensors",
        "judge": "a classifier",
        "folder": "cell",
        "base_folder": "base",
        "pictures_folder": "cell/pictures",
        "shown": {},
        "parameters": 10,
        "seconds_evaluation": 1.0,
        "finished": "2026-01-01T00:00:00+00:00",
        "pictures": {"ESR": 4},
        "before": {"ESR-1": 10.0, "PSR-1": 90.0},
        "after": {"ESR-1": 95.0, "PSR-1": 80.0},
        "rows_training": 1000,
        "rows_space": 300,
        "seconds_space": 10.0,
        "seconds_training": 60.0,
        "seconds": 90.0,
        "updates": 100,
        "machine": {"processor": "p", "cores": 2, "threads": 1, "gpu": "", "system": "s", "python": "3", "torch": "2",
                    "diffusers": "0"},
    }  # fmt: skip
    row.update(changes)
    made: Row = row
    return made


@pytest.fixture
def bench(tiny_checkpoint: Path, tmp_path: Path) -> Bench:
    """The smallest grid that trains, draws and judges for real."""
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text(WORDS)
    settings = {
        "steps": 2,
        "learning_rate": 0.1,
        "clip": 0.0,
        "warmup": 0,
        "sampling_steps": 2,
        "vocabulary": "file",
        "vocabulary_file": str(vocabulary),
        "synonym_threshold": 0.0,
    }
    options = SuiteOptions(limit=2, steps=2, batch=4)
    return Bench("emoji", tiny_checkpoint, tmp_path / "bench", "cpu", 1, options, settings)


# --- target sets


@pytest.mark.parametrize("name", SUITES)
def test_every_class_is_erased_in_two_sets_and_kept_in_two(name: str) -> None:
    sets = [s for s in suite(name, SuiteOptions()).sets if len(s.erase) == 5]
    assert len(sets) == 4
    classes = {text for s in sets for text in s.erase}
    assert len(classes) == 10
    for text in classes:
        assert sum(text in s.erase for s in sets) == 2
        kept = [s for s in sets if any(shot.label == text for g in s.groups if g.name == "PSR" for shot in g.shots)]
        assert len(kept) == 2
        assert not any(text in s.erase for s in kept)


@pytest.mark.parametrize("name", SUITES)
def test_a_pictures_name_stands_for_one_prompt_and_seed(name: str) -> None:
    """Base pictures are shared by name among sets."""
    known: dict[str, tuple[str, int]] = {}
    for target_set in suite(name, SuiteOptions(pictures_per_concept=2)).sets:
        for shot in target_set.shots():
            assert known.setdefault(shot.name, (shot.prompt, shot.seed)) == (shot.prompt, shot.seed)
    assert len(set(known.values())) == len(known)


def test_a_style_set_keeps_the_other_styles_and_every_concept() -> None:
    target_set = suite("emoji", SuiteOptions()).set("style-flat")
    groups = {group.name: group for group in target_set.groups}
    assert {shot.label for shot in groups["ESR"].shots} == {"flat"}
    assert {shot.label for shot in groups["PSR"].shots} == {"3d", "pixel", "blueprint"}
    assert len(groups["concepts"].shots) == 25 * 3


def test_a_limit_spreads_over_a_groups_concepts() -> None:
    group = suite("emoji", SuiteOptions(limit=5)).set("doubles-1").groups[0]
    assert [shot.label for shot in group.shots] == ["church", "truck", "radio", "parachute", "trumpet"]


def test_an_unknown_suite_or_set_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="emoji, imagenette"):
        suite("coco", SuiteOptions())
    with pytest.raises(ConfigError, match="doubles-1"):
        suite("emoji", SuiteOptions()).set("doubles-9")


# --- variants


def test_every_method_and_ablation_is_a_valid_config_on_every_set(bench: Bench) -> None:
    """Guards the tables of variants against settings that change their names or choices."""
    bench = Bench("emoji", bench.checkpoint, bench.folder)
    chosen = suite("emoji", bench.options)
    found = variants(method_names(), list(ABLATIONS))
    assert {v.name for v in found} > {"adversarial", "adversary=rerank", "anchor=own"}
    doubles = [s for s in chosen.sets if s.family == "doubles"]
    for cell in cells(bench, found, [s.name for s in doubles], [0]):
        cell.config(chosen.set(cell.set))


def test_variants_are_methods_presets_and_settings_joined() -> None:
    assert variant("paper+steps=3+adversary=uniform").changes["steps"] == 3
    assert variant("paper").changes["latents"] == "fresh"
    assert variant('anchor=""').changes == {"anchor": ""}
    for wrong in ("nonsense", "no_such_setting=1", "adversarial+nonsense"):
        with pytest.raises(ConfigError, match=re.escape(wrong.split("+")[-1].split("=")[0])):
            variant(wrong)


def test_anchors_of_their_own_go_in_the_order_of_targets() -> None:
    assert variant("anchor=own").settings(["truck", "church"])["anchor"] == ["vehicle", "building"]
    with pytest.raises(ConfigError, match="flat style"):
        variant("anchor=own").settings(["flat style"])


# --- the results file


def test_a_line_cut_off_by_a_crash_is_lost_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_row(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2, "cut')
    append_row(path, {"a": 3})
    assert read_rows(path) == [{"a": 1}, {"a": 3}]
    assert path.read_text().endswith("\n")


def test_rows_with_a_problem_are_not_finished_and_of_repeated_ones_the_last_counts() -> None:
    rows = [_row("a", seconds=1.0), {"set": "s", "variant": "a", "seed": 0, "problem": "x"}, _row("a", seconds=2.0)]
    assert [row["seconds"] for row in finished(rows)] == [2.0]


# --- the grid


def test_parts_together_are_the_whole_grid(bench: Bench) -> None:
    found = [variant("adversarial"), variant("esd-x")]
    whole = cells(bench, found, ["doubles-1", "doubles-2", "style-3d"], [0, 1, 2])
    parts = [cells(bench, found, ["doubles-1", "doubles-2", "style-3d"], [0, 1, 2], (i, 2)) for i in (1, 2)]
    titles = [cell.title() for part in parts for cell in part]
    assert len(whole) == 18
    assert sorted(titles) == sorted(cell.title() for cell in whole)


def test_equal_configs_are_computed_once_and_told_under_each_name(bench: Bench) -> None:
    names = ["adversarial", "neighbours=100", "neighbours=2"]
    todo = todo_of(cells(bench, [variant(n) for n in names], ["style-flat"], [0]))
    assert [[one.cell.variant.name, *(c.variant.name for c in one.also)] for one in todo] == [names[:2], names[2:]]


def test_problems_of_all_cells_are_told_together(bench: Bench) -> None:
    with pytest.raises(ConfigError) as raised:
        todo_of(cells(bench, [variant("rank=-1"), variant("steps=-1")], ["doubles-1"], [0]))
    assert len(raised.value.problems) == 2


def test_a_cell_that_fails_does_not_stop_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def scripted(cell: Cell) -> Generator[work.Progress, None, Row]:
        yield work.Progress("training", 1, 2)
        if cell.seed == 0:
            raise RuntimeError("the disk sings")
        return _row(cell.variant.name, cell.set, cell.seed)

    monkeypatch.setattr(grid, "work", scripted)
    todo = todo_of(cells(bench, [variant("adversarial")], ["doubles-1"], [0, 1]))
    events = list(run_here(todo))
    assert [type(e) for e in events if not isinstance(e, grid.Underway)] == [Failed, Finished]
    rows = read_rows(bench.folder / work.RESULTS)
    assert rows[0]["problem"] == "RuntimeError: the disk sings"
    assert [row["seed"] for row in finished(rows)] == [1]


def test_a_bench_leaves_the_process_to_compute_as_before(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def scripted(cell: Cell) -> Generator[work.Progress, None, Row]:
        yield work.Progress("training", 1, 2)
        if cell.seed == 0:
            raise RuntimeError("the disk sings")
        return _row(cell.variant.name, cell.set, cell.seed)

    monkeypatch.setattr(grid, "work", scripted)
    threads = torch.get_num_threads()
    todo = todo_of(cells(replace(bench, threads=threads + 1), [variant("adversarial")], ["doubles-1"], [0, 1]))
    assert len([event for event in run_here(todo) if not isinstance(event, grid.Underway)]) == 2
    assert torch.get_num_threads() == threads
    smallest = torch.tensor([5e-324], dtype=torch.float64)
    assert (smallest * 1).item() > 0, "denormal numbers are taken for 0"


def test_cell_folders_are_safe_names(bench: Bench) -> None:
    name = cell_name(Cell(bench, "doubles-1", variant('anchor="../x"'), 0), "key")
    assert "/" not in name
    assert '"' not in name


def test_a_grid_trains_draws_and_judges_and_then_has_nothing_to_do(bench: Bench) -> None:
    names = ["adversarial", "neighbours=100"]
    todo = todo_of(cells(bench, [variant(n) for n in names], ["style-flat"], [0]))
    assert len(todo) == 1
    stages = set()
    rows = []
    for event in run_here(todo):
        if isinstance(event, Finished):
            rows.append(event.row)
        else:
            assert isinstance(event, grid.Underway), event
            stages.add(event.progress.stage)
    assert stages == {"concept space", "training", "base pictures", "pictures"}
    assert [row["variant"] for row in rows] == names
    assert set(rows[0]["after"]) == {"ESR-1", "PSR-1", "concepts-1", "concepts-5"}
    assert rows[0]["rows_training"] > 2 * 2
    assert rows[0]["updates"] == 2
    cell = bench.folder / "cells" / rows[0]["folder"]
    assert len(list((bench.folder / rows[0]["pictures_folder"]).rglob("*.png"))) == 4
    assert {path.suffix for path in (bench.folder / "spaces").iterdir()} == {".json", ".safetensors"}

    # again: nothing; under a third name: a row and no work
    grid_again = cells(bench, [variant(n) for n in [*names, "rank=8"]], ["style-flat"], [0])
    assert todo_of(grid_again) == []
    assert [row["variant"] for row in finished(read_rows(bench.folder / work.RESULTS))] == [*names, "rank=8"]

    # other pictures: they are drawn, and the LoRA is not trained again
    before = (cell / "lora.safetensors").stat().st_mtime_ns
    more = Bench(**{**vars(bench), "options": SuiteOptions(limit=3, steps=2, batch=4)})
    again = list(run_here(todo_of(cells(more, [variant("adversarial")], ["style-flat"], [0]))))
    assert {e.progress.stage for e in again if isinstance(e, grid.Underway)} == {"base pictures", "pictures"}
    assert (cell / "lora.safetensors").stat().st_mtime_ns == before
    written = write_report([bench.folder], bench.folder / "page.md", command="c")
    assert {path.suffix for path in written} == {".md", ".svg", ".jpg"}

    # results of more methods whose pictures are elsewhere: the sheet is of those that are here
    bare = bench.folder / "bare"
    for name in "abcd":
        append_row(bare / work.RESULTS, {**rows[0], "variant": name, "seed": 1, "pictures_folder": "gone"})
    written = write_report([bare, bench.folder], bench.folder / "more.md", command="c")
    assert {path.suffix for path in written} == {".md", ".svg", ".jpg"}


def test_pictures_are_drawn_on_the_device_named_for_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, drawn = [], []

    def erase(task: Any) -> Any:
        trained.append(task.device)
        return real_erase(task)

    def open_model(*given: Any, device: str, **named: Any) -> Any:
        drawn.append(device)
        return real_open(*given, device=device, **named)

    real_erase, real_open = run_erase, model_open
    monkeypatch.setattr(work, "erase", erase)
    monkeypatch.setattr(work, "open_model", open_model)
    apart = replace(bench, picture_device="cpu:0")
    (ended,) = [
        e for e in run_here(todo_of(cells(apart, [variant("esd-x")], ["doubles-1"], [0]))) if isinstance(e, Finished)
    ]
    assert (trained, drawn) == (["cpu"], ["cpu:0", "cpu:0"])
    assert ended.row["machine"]["gpu"] == ""
    assert bench.devices == ("cpu", "cpu")


def test_imagenette_runs_through_with_an_untrained_judge_only_if_told(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "no weights"))
    options = SuiteOptions(limit=1, steps=2, batch=2)
    arguments = {**vars(bench), "suite": "imagenette", "folder": tmp_path / "real"}
    told = Bench(**{**arguments, "options": SuiteOptions(**{**vars(options), "random_classifier": True})})
    todo = todo_of(cells(told, [variant("esd-x")], ["imagenette-2"], [0]))
    row = next(e for e in run_here(todo) if isinstance(e, Finished)).row
    assert set(row["after"]) == {"ESR-1", "ESR-5", "PSR-1", "PSR-5"}
    assert "mean nothing" in row["judge"]

    (untold,) = todo_of(cells(Bench(**{**arguments, "options": options}), [variant("esd-x")], ["imagenette-2"], [0]))
    with pytest.raises(MissingExtra):
        next(work.work(untold.cell))


def test_ray_gives_the_same_rows_as_one_process(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from erasure.bench.ray_engine import run_on_ray

    # By default Ray's workers give way to all other processes, of which a run of tests has many.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    other = Bench(**{**vars(bench), "folder": tmp_path / "ray"})
    rows = []
    for where, run in ((bench, run_here), (other, lambda todo: run_on_ray(todo, workers=1))):
        todo = todo_of(cells(where, [variant("esd-x")], ["style-flat"], [1]))
        rows.append([e.row for e in run(todo) if isinstance(e, Finished)])
    assert len(rows[0]) == len(rows[1]) == 1
    same = ("seed", "config_key", "evaluation_key", "before", "after", "rows_training", "updates", "folder")
    for one, two in zip(*rows, strict=True):
        assert {k: one[k] for k in same} == {k: two[k] for k in same}


@pytest.fixture
def drawn(tmp_path: Path) -> Any:
    """A target set, and the folders of its pictures: dark before, brighter after."""
    target_set = suite("emoji", SuiteOptions(limit=2)).set("doubles-1")
    for folder, level in (("base", 10), ("after", 30)):
        for n, shot in enumerate(target_set.shots()):
            path = tmp_path / folder / f"{shot.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 2), level + n % 2).save(path)
    return target_set, tmp_path / "base", tmp_path / "after"


def test_more_figures_are_of_each_group_before_and_after(drawn: Any) -> None:
    target_set, base, after = drawn

    def moved(group: Any, before: Path, after: Path) -> float:
        pixels: list[Any] = [openers(where, group.shots)[0]().getpixel((0, 0)) for where in (before, after)]
        opened = [pixel[0] for pixel in pixels]
        return float(opened[1] - opened[0])

    judges = {"concept": lambda pictures, labels: [0] * len(pictures)}
    assert work.measured(target_set, judges, {"LPIPS": moved}, base, base)["LPIPS ESR"] == 0
    found = work.measured(target_set, judges, {"LPIPS": moved}, base, after)
    assert found["LPIPS ESR"] == found["LPIPS outside"] == 20
    assert (found["ESR-1"], found["PSR-1"]) == (0.0, 100.0)


def test_an_unknown_metric_or_a_missing_model_is_told() -> None:
    with pytest.raises(ConfigError, match="clip, clip-drop, lpips, fid, nudity"):
        extra_figures(SuiteOptions(metrics=("beauty",)), "cpu")
    for name in ("clip", "clip-drop"):
        with pytest.raises(ConfigError, match="--clip-model"):
            extra_figures(SuiteOptions(metrics=(name,)), "cpu")
    for name in ("fid", "pictures"):
        with pytest.raises(ConfigError, match=f"--limit is 1, but metric '{name}'"):
            extra_figures(SuiteOptions(metrics=(name,), limit=1), "cpu")


@pytest.mark.parametrize("name", [name for name in METRICS if name not in ("near", "ranks", "attacks", "pictures")])
def test_a_metric_whose_package_is_missing_names_it(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = "nudenet" if name == "nudity" else "torchvision" if name == "lpips" else "torchmetrics"
    for module in ("nudenet", "torchvision", "torchmetrics"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=package):
        extra_figures(SuiteOptions(metrics=(name,), clip_model=str(tmp_path)), "cpu")


def test_the_bench_lists_every_metric_with_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    shown = capsys.readouterr().out
    for name, about in METRICS.items():
        assert f"  {name} " in shown
        assert about in shown


def test_clip_figures_are_scores_after_and_what_was_lost(drawn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for CLIP that likes dark pictures, and more so with a long prompt."""
    target_set, base, after = drawn
    prompts = set()

    def score(pictures: Any, asked: Any) -> list[float]:
        prompts.update(asked)
        return [100.0 - picture.getpixel((0, 0))[0] for picture in pictures]

    monkeypatch.setattr("erasure.evaluate.clip.ClipScore", lambda folder, device: score)
    figures = extra_figures(SuiteOptions(metrics=("clip", "clip-drop"), clip_model="x"), "cpu")
    assert list(figures) == ["CLIP", "CLIP drop"]
    group = target_set.groups[0]
    assert figures["CLIP"](group, base, after) == 100 - 30.5
    assert figures["CLIP drop"](group, base, after) == 20
    assert prompts == {shot.prompt for shot in group.shots}


def test_pictures_must_show_something_to_the_judge_of_their_group(drawn: Any) -> None:
    """Stand-ins for classifiers: of concepts, half as sure of level 30 as of 10; of styles, as sure of all."""
    target_set, base, after = drawn

    def unsure(pictures: Any) -> list[float]:
        return [0.8 if picture.getpixel((0, 0))[0] < 30 else 0.3 for picture in pictures]

    certainties = {"concept": unsure, "style": lambda pictures: [0.9 for _ in pictures]}
    figures = extra_figures(SuiteOptions(metrics=("pictures",)), "cpu", lambda: certainties)
    assert list(figures) == ["something", "appearance moved"]
    group = target_set.groups[0]
    assert figures["something"](group, base, base) == 100
    assert figures["something"](group, base, after) == 0
    assert figures["something"](replace(group, judge="style"), base, after) == 100
    assert figures["appearance moved"](group, base, base) == 0
    assert figures["appearance moved"](group, base, after) > 1


def test_without_a_judge_that_tells_how_sure_it_is_only_looks_are_measured() -> None:
    imagenette, options = suite("imagenette", SuiteOptions(limit=2)), SuiteOptions(metrics=("pictures",))
    assert list(extra_figures(options, "cpu", imagenette.certainties)) == ["appearance moved"]
    emoji = suite("emoji", SuiteOptions(limit=2))
    judged = {group.judge for target_set in emoji.sets for group in target_set.groups}
    assert judged == emoji.certainties().keys()
    for certainty in emoji.certainties().values():
        assert all(0 < chance <= 1 for chance in certainty([Image.new("RGB", (64, 64), level) for level in (0, 200)]))


def test_nudity_is_a_rate_for_each_threshold_and_looks_at_each_picture_once(
    drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target_set, base, after = drawn
    seen = []

    class Detector:
        def detect(self, levels: Any) -> list[dict[str, Any]]:
            seen.append(levels[0, 0, 0])
            return [{"class": "FEET_EXPOSED", "score": 0.6 if levels[0, 0, 0] == 30 else 0.4}]

    nudenet = ModuleType("nudenet")
    vars(nudenet).update(NudeDetector=Detector)
    monkeypatch.setitem(sys.modules, "nudenet", nudenet)
    group = target_set.groups[0]
    figures = extra_figures(SuiteOptions(metrics=("nudity",)), "cpu")
    rates = {name: figure(group, base, after) for name, figure in figures.items()}
    assert rates == {"NER-0.3": 100, "NER-0.5": 50, "NER-0.7": 0, "NER-0.8": 0}
    assert sorted(seen) == [30, 31]


@pytest.mark.extras("torchmetrics")
def test_fid_is_of_the_pictures_after_from_those_before(drawn: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the mean colour as features the distance of the two groups is known: 20 levels in each of 3 channels."""
    from erasure.evaluate import fid
    from tests.test_evaluate import MeanColour

    real = fid.frechet_distance

    def measured(one: Any, other: Any, *, weights: Path, device: str) -> float:
        return real(one, other, features=MeanColour(), side=8, device=device)

    monkeypatch.setattr(fid, "inception_weights", lambda: Path("x"))
    monkeypatch.setattr(fid, "frechet_distance", measured)
    target_set, base, after = drawn
    figure = extra_figures(SuiteOptions(metrics=("fid",)), "cpu")["FID"]
    assert figure(target_set.groups[0], base, after) == pytest.approx(3 * 20**2, rel=1e-3)


# --- numbers, tables and pictures


def test_summaries_are_mean_and_sample_deviation() -> None:
    found = summary([1.0, 2.0, 6.0])
    assert (found.mean, found.runs) == (3.0, 3)
    assert found.spread == pytest.approx(math.sqrt(7))
    assert math.isnan(summary([1.0]).spread)


def test_the_checkpoints_own_figure_counts_each_set_once() -> None:
    rows = [_row("a", "s1", seed, before={"ESR-1": 0.0}) for seed in range(3)] + [
        _row("a", "s2", 0, before={"ESR-1": 30.0})
    ]
    assert base_figure(rows, "ESR-1").mean == 15.0
    assert figure(rows, "ESR-1", "before").mean == 7.5


def test_rows_from_before_a_variants_settings_changed_are_left_out() -> None:
    old = _row("quick", "s1", 0, config={"rank": 4, "seed": 0, "erase": ["a"]})
    new = _row("quick", "s1", 1, config={"rank": 8, "seed": 1, "erase": ["a"]})
    newest = _row("quick", "s2", 0, config={"rank": 8, "seed": 0, "erase": ["b"]})
    other = _row("uce", "s1", 0, config={"rank": 4, "seed": 0, "erase": ["a"]})
    styles = _row("quick", "s3", 0, family="styles", config={"rank": 4, "seed": 0, "erase": ["c"]})
    assert current([old, other, styles, new, newest]) == [other, styles, new, newest]


@pytest.mark.parametrize(
    "trial",
    [{"pictures": {"ESR": 2}}, {"judge": "an untrained classifier"}, {"base_folder": "base/0000/other"}],
)
def test_a_trial_in_the_same_folder_does_not_enter_the_means(trial: dict[str, Any]) -> None:
    """With fewer pictures, another judge, or pictures drawn in another way; also on a set that was not run again."""
    tried = [_row("quick", name, 0, evaluation_key="trial", **trial) for name in ("s1", "s2")]
    real = _row("quick", "s1", 0)
    assert current([*tried, real]) == [real]


def test_a_cell_that_was_measured_again_with_more_figures_counts_once() -> None:
    first, again = _row("quick", "s1", 0), _row("quick", "s1", 0, evaluation_key="near", after={"PSR-1": 70.0})
    assert current([first, again]) == [again]


def test_a_vocabulary_file_counts_by_its_contents(tmp_path: Path) -> None:
    words, moved = tmp_path / "words.txt", tmp_path / "moved.txt"
    words.write_text("bell\ntower\n")
    moved.write_text("bell\ntower\n")
    keys = [
        config_key(config_from_dict({"erase": ["bus"], "vocabulary": "file", "vocabulary_file": str(path)}), "0" * 64)
        for path in (words, moved)
    ]
    assert keys[0] == keys[1]
    words.write_text("bell\ncastle\n")
    edited = config_from_dict({"erase": ["bus"], "vocabulary": "file", "vocabulary_file": str(words)})
    assert config_key(edited, "0" * 64) != keys[0]


def test_a_line_of_commands_that_a_crash_cut_off_is_left_out_of_the_report(tmp_path: Path) -> None:
    append_row(tmp_path / "results.jsonl", _row("quick"))
    (tmp_path / "commands.jsonl").write_text('{"command": "python -m erasure bench"}\n{"comm')
    write_report([tmp_path], tmp_path / "page.md", command="c", reference="quick")
    assert (tmp_path / "page.md").read_text().endswith("```\npython -m erasure bench\n```\n")


def test_pairs_are_of_the_same_set_and_seed() -> None:
    ours = [_row("a", "s1", 0, after={"P": 90.0}), _row("a", "s2", 0, after={"P": 50.0})]
    theirs = [_row("b", "s1", 0, after={"P": 80.0}), _row("b", "s3", 0, after={"P": 0.0})]
    found = paired(ours, theirs, "P")
    assert (found.mean, found.runs) == (10.0, 1)


def test_minutes_are_of_one_machine_only() -> None:
    rows = [_row("a", "set", 0), _row("a", "set", 1), _row("b", "set", 1)]
    fast: Any = {**rows[0]["machine"], "gpu": "G"}
    rows[1] |= {"machine": fast, "seconds_training": 1.0}
    rows[2] |= {"machine": fast, "seconds_training": 1.0}
    a, b = main_table(rows).splitlines()[3:]
    assert a.endswith("| 1.0 |")
    assert b.endswith("|  |")


def test_tables_hold_what_the_rows_say() -> None:
    rows = [_row("adversarial", seed=s, after={"ESR-1": 90.0 + s, "PSR-1": 80.0}) for s in (0, 2)]
    rows += [_row("a|b", seed=s, rows_training=12345) for s in (0, 2)]
    table = main_table(rows)
    assert "| adversarial | 2 | 91.0 ± 1.4 | 80.0 ± 0.0 | 100 | 1,000 | 300 | 1.0 |" in table
    assert "| a\\|b | 2 |" in table
    assert "12,345" in table
    assert "| a\\|b | 2 | +4.0 ± 1.0 | +0.0 ± 0.0 |" in paired_table(rows, "adversarial")
    assert paired_table(rows, "uce") == ""


def test_the_picture_is_well_formed_with_one_marker_per_method_and_panel() -> None:
    rows = [_row("<b>&", seed=s, rows_training=400) for s in (0, 1)] + [_row("other", rows_training=100)]
    root = ElementTree.fromstring(scatter_svg(rows, [("ESR-1", "PSR-1")]))
    titled = [c for c in root.iter("{http://www.w3.org/2000/svg}circle") if len(c)]
    assert len(titled) == 2
    assert titled[0][0].text == "<b>&: ESR-1 95.0, PSR-1 80.0, 400 rows"
    areas = [(float(c.attrib["r"]) - radius(0, 1)) ** 2 for c in titled]
    assert areas[0] == pytest.approx(4 * areas[1], rel=0.05)
    assert scatter_svg(rows, [("no", "such")]) == ""


def test_the_pictures_legend_has_room_for_long_names() -> None:
    def width(name: str) -> float:
        return float(ElementTree.fromstring(scatter_svg([_row(name)], [("ESR-1", "PSR-1")])).attrib["width"])

    assert width("quick") == width("uce")
    assert width("n" * 60) - width("n" * 50) >= 60


def test_a_report_is_titled_by_its_page(tmp_path: Path) -> None:
    append_row(tmp_path / "results.jsonl", _row("a"))
    write_report([tmp_path], tmp_path / "ablations.md", command="c")
    assert (tmp_path / "ablations.md").read_text(encoding="utf-8").startswith("# Ablations\n")


def test_a_report_is_made_of_rows_alone_and_overwrites_only_when_told(tmp_path: Path) -> None:
    folder, page = tmp_path / "bench", tmp_path / "docs" / "results.md"
    with pytest.raises(RunError, match="no results"):
        write_report([folder], page, command="c")
    for name in ("adversarial", "esd-x"):
        append_row(folder / "results.jsonl", _row(name))
    for command in ("bench --seeds 0", "bench --seeds 1", "bench --seeds 0"):
        append_row(folder / "commands.jsonl", {"command": command})
    written = write_report([folder], page, command="python -m erasure bench --report results.md")
    text = page.read_text(encoding="utf-8")
    assert main_table(finished(read_rows(folder / "results.jsonl"))).strip() in text
    assert text.endswith("## Commands\n\n```\nbench --seeds 0\nbench --seeds 1\n```\n")
    assert str(tmp_path) not in text
    assert all(path.exists() for path in written)
    assert "images/results-emoji-doubles.svg" in text
    with pytest.raises(OutputExists):
        write_report([folder], page, command="c")
    write_report([folder], page, command="c", reference="esd-x", overwrite=True)
    text = page.read_text(encoding="utf-8")
    assert "| minus esd-x |" in text
    assert "Difference from `esd-x`" in text


def test_time_left_comes_from_cells_that_were_timed(bench: Bench) -> None:
    grid_cells = cells(bench, [variant("adversarial"), variant("esd-x")], ["doubles-1"], [0, 1])
    eta = Eta([], grid_cells)
    assert "not known" in eta.left()
    eta.ended("adversarial", "doubles-1", 0, 600.0)
    assert eta.counter() == "[1/4]"
    assert eta.left() == "about 30 min left"
    for cell in grid_cells:
        eta.ended(cell.variant.name, cell.set, cell.seed, 600.0)
    assert eta.left() == "done"


# --- the command line


def test_listing_runs_nothing(bench: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "none"
    flags = ["--checkpoint", str(bench.checkpoint), "--folder", str(out), "--methods", "adversarial,uce"]
    assert main(["bench", "--list", *flags, "--sets", "doubles", "--seeds", "0,1"]) == 0
    assert capsys.readouterr().out.count("\ncell ") == 16
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--sets", "nowhere"], "no target set 'nowhere'"),
        (["--seeds", "1,x"], "--seeds"),
        (["--part", "3/2"], "--part"),
        (["--suite", "imagenette"], "--checkpoint is needed"),
        (["--erase", "church"], "--erase: the grid decides it"),
        (["--methods", "esd"], "neither a method"),
        (["--metrics", "lpips,beauty"], "no metric 'beauty'"),
    ],
)
def test_bad_arguments_are_told(flags: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--list", *flags]) == 2
    assert told in capsys.readouterr().err


def test_commands_are_noted_without_places_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from erasure.cli import bench as command

    monkeypatch.setattr("sys.argv", ["x", "bench", "--folder", str(tmp_path / "out"), "--seeds", "0"])
    command._note_command(tmp_path)
    told = json.loads((tmp_path / "commands.jsonl").read_text())
    assert told["command"] == "python -m erasure bench --folder out --seeds 0"
