"""What a job makes of the verdict on its run: it keeps it, tells of it, and can train on while something is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from erasure.errors import JobConflict
from erasure.jobs.manager import MORE, JobManager
from erasure.jobs.order import coming_names
from erasure.run.folder import RunFolder
from erasure.verdict.verdict import Verdict, lines
from tests.fake_host import FakeHost
from tests.jobs.asked import ends, request
from tests.jobs.scripted_run import PATIENCE, ScriptedRun
from tests.verdicts import a_finding, a_verdict


@pytest.fixture
def run(run: ScriptedRun) -> ScriptedRun:
    """Church is left after fewer than 6 updates, and gone after 6."""
    run.verdict = lambda step: a_verdict(left=0 if (step or 0) >= 6 else 3, step=step)
    return run


def _done(host: FakeHost, manager: JobManager, **changes: object) -> str:
    id = manager.submit(request(host, "gone", **changes))
    ends(manager, id)
    return id


def test_a_verdict_is_kept_and_read_again_from_the_log(host: FakeHost, manager: JobManager) -> None:
    id = _done(host, manager)
    assert manager.snapshot(id).verdict == a_verdict(left=3, step=4)
    assert manager.snapshot(id).message == "done: gone is in the Lora folder; not all is gone"
    again = JobManager(host, start=False)
    assert again.snapshot(id).verdict == a_verdict(left=3, step=4)
    assert again.snapshot(id).actions == ("train-on", "delete")


def test_the_note_beside_the_lora_says_what_was_found(host: FakeHost, manager: JobManager) -> None:
    _done(host, manager)
    note = json.loads((host.lora_folder() / "gone.json").read_text(encoding="utf-8"))
    made, *said = note["notes"].splitlines()
    assert made.startswith("Made by Adversarial Erase from")
    assert said == lines(a_verdict(left=3))


def test_the_curves_of_looks_begin_before_the_first_update_and_not_again_where_training_goes_on(
    host: FakeHost, manager: JobManager
) -> None:
    id = _done(host, manager)
    manager.train_on(id)
    done = manager.wait(id, timeout=PATIENCE)
    assert (done.series["recognised church"], done.series["kept"]) == (((0, 1.0),), ((0, 1.0),))
    log = (_folder(host, id) / "events.jsonl").read_text(encoding="utf-8")
    assert log.count('"event": "look"') == 1


def test_what_is_left_is_trained_on_from_the_state_into_another_lora(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    id = _done(host, manager)
    manager.train_on(id)
    done = manager.wait(id, timeout=PATIENCE)
    assert (done.state, done.problem, done.step, done.steps) == ("done", "", 4 + MORE, 4 + MORE)
    assert run.started_at == [0, 4]
    assert done.verdict == a_verdict(step=4 + MORE)
    assert done.result is not None
    assert (done.result.name, done.config["steps"], done.asked["steps"]) == ("gone-2", 4 + MORE, 4 + MORE)
    assert {"gone.safetensors", "gone-2.safetensors"} <= {path.name for path in host.lora_folder().iterdir()}
    assert "another file" not in " ".join(done.notes)


def test_a_job_that_trains_on_goes_to_its_new_end_even_after_an_interruption(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    id = _done(host, manager)
    run.fail(6, OSError("no disk"))
    manager.train_on(id)
    assert manager.wait(id, timeout=PATIENCE).state == "failed"
    manager.close()
    again = JobManager(host)
    assert again.snapshot(id).verdict is None  # the weights are others by now
    again.resume(id)
    ends(again, id)
    assert again.snapshot(id).step == 4 + MORE
    again.close()


def test_a_job_of_which_nothing_is_left_cannot_train_on(host: FakeHost, manager: JobManager) -> None:
    id = _done(host, manager, steps=6)
    assert manager.snapshot(id).actions == ("delete",)
    with pytest.raises(JobConflict, match="train-on is not possible"):
        manager.train_on(id)


def test_a_job_that_nothing_judged_cannot_train_on(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    run.verdict = None
    id = _done(host, manager)
    assert manager.snapshot(id).verdict is None
    with pytest.raises(JobConflict, match="train-on is not possible"):
        manager.train_on(id)


def test_a_method_of_one_step_cannot_train_on(host: FakeHost, manager: JobManager) -> None:
    assert manager.snapshot(_done(host, manager, method="uce", steps=1)).actions == ("delete",)


def test_names_of_loras_on_their_way_are_not_given_away(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    id = _done(host, manager)
    hold = run.hold(1)
    manager.submit(request(host, "gone-2"))
    hold.reached()
    manager.train_on(id)
    hold.release()
    done = manager.wait(id, timeout=PATIENCE)
    assert done.result is not None
    assert done.result.name == "gone-3"


def test_a_name_that_a_job_will_make_while_it_trains_on_is_not_suggested(
    host: FakeHost, manager: JobManager, run: ScriptedRun
) -> None:
    id = _done(host, manager)
    hold = run.hold(5)
    manager.train_on(id)
    hold.reached()
    assert coming_names(manager.snapshots()) == ["gone-2"]
    hold.release()
    manager.wait(id, timeout=PATIENCE)


@pytest.mark.parametrize(
    "verdict",
    [
        None,
        [],
        {},
        {"step": 4, "findings": 3},
        {"step": float("inf"), "findings": []},
        {"step": 4, "findings": [{"concept": "church", "role": "target"}]},
    ],
)
def test_a_malformed_verdict_in_the_log_is_no_verdict(host: FakeHost, manager: JobManager, verdict: Any) -> None:
    id = _done(host, manager)
    log = RunFolder(_folder(host, id)).path / "events.jsonl"
    kept = [line for line in log.read_text(encoding="utf-8").splitlines() if '"judged"' not in line]
    log.write_text("\n".join([*kept, json.dumps({"event": "judged", "step": 4, "verdict": verdict})]), encoding="utf-8")
    again = JobManager(host, start=False)
    assert again.snapshot(id).verdict is None
    assert again.snapshot(id).step == 4


@pytest.mark.parametrize(
    "change",
    [
        {"pictures": 0},
        {"after": 9},
        {"before": -1},
        {"as_target": "8"},
        {"pictures": float("inf")},
        {"strength": float("nan")},
        {"moved": float("inf")},
        {"role": "judge"},
    ],
)
def test_impossible_findings_are_no_verdict(host: FakeHost, manager: JobManager, change: dict[str, Any]) -> None:
    id = _done(host, manager)
    values = a_verdict().to_dict()
    values["findings"][0] |= change
    with (_folder(host, id) / "events.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"event": "judged", "step": 4, "verdict": values}) + "\n")
    assert JobManager(host, start=False).snapshot(id).verdict == a_verdict(left=3, step=4)


def test_a_job_whose_pictures_all_changed_is_not_done(host: FakeHost, manager: JobManager, run: ScriptedRun) -> None:
    others = [a_finding(f"word {i}", "unrelated" if i % 2 else "near", 0, of=2) for i in range(8)]
    run.verdict = lambda step: Verdict((a_finding("church", "target", 0), *others), step)
    failed = manager.wait(manager.submit(request(host, "gone")), timeout=PATIENCE)
    assert failed.state == "failed"
    assert failed.problem.startswith("training diverged: pictures of everything changed")
    assert "Start again with learning_rate" in failed.problem
    assert failed.result is None
    assert not list(host.lora_folder().glob("*"))
    assert failed.verdict is not None
    assert failed.previews == (4,)
    # It would diverge again, so what is offered is what to change.
    assert (failed.diverged, failed.actions) == (True, ("delete",))
    with pytest.raises(JobConflict, match="begin anew"):
        manager.resume(failed.id)
    rate = failed.config["learning_rate"]
    assert manager.remedy(failed.id)["learning_rate"] == pytest.approx(rate / 4, rel=0.05)
    later = JobManager(host, start=False).snapshot(failed.id)
    assert (later.diverged, later.actions) == (True, ("delete",))


def _folder(host: FakeHost, id: str) -> Path:
    return host.data_folder() / "runs" / id
