"""A run whose checkpoint is moved or renamed while it is interrupted goes on from its new place."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import yaml

from erasure.jobs.manager import JobManager
from erasure.jobs.moved import moved_checkpoint
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.configuration import configuration_of, differences
from erasure.run.folder import RunFolder
from tests.fake_host import FakeHost
from tests.jobs.asked import ends, request
from tests.jobs.scripted_run import PATIENCE, ScriptedRun


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    """A host whose checkpoint may be moved."""
    shutil.copytree(tiny_checkpoint.parent, tmp_path / "models")
    return FakeHost(tmp_path, tmp_path / "models" / tiny_checkpoint.name)


@pytest.fixture
def interrupted(host: FakeHost, manager: JobManager, run: ScriptedRun) -> str:
    """A job that was interrupted after three updates."""
    hold = run.hold(3)
    id = manager.submit(request(host))
    hold.reached()
    threading.Timer(0.05, hold.release).start()
    manager.close()
    run.at.clear()
    return id


def move(host: FakeHost) -> Path:
    """Rename the folder and the checkpoint in it with its yaml, and let the host offer it there."""
    new = host.root / "other drive" / "renamed.safetensors"
    host.checkpoint.parent.rename(new.parent)
    old = new.parent / host.checkpoint.name
    old.with_suffix(".yaml").rename(new.with_suffix(".yaml"))
    old.rename(new)
    host.checkpoint = new
    return new


def test_a_job_finds_its_moved_checkpoint_among_those_of_the_host(
    host: FakeHost, interrupted: str, run: ScriptedRun
) -> None:
    new = move(host)
    after = JobManager(host)
    after.resume(interrupted)
    ends(after, interrupted)
    assert run.started_at == [0, 3]
    assert after.snapshot(interrupted).checkpoint == new.name
    after.close()


def test_a_checkpoint_that_was_moved_back_is_told_by_its_first_place(
    host: FakeHost, interrupted: str, run: ScriptedRun
) -> None:
    first, new = host.checkpoint, move(host)
    hold = run.hold(4)
    between = JobManager(host)
    between.resume(interrupted)
    hold.reached()
    threading.Timer(0.05, hold.release).start()
    between.close()
    run.at.clear()
    new.with_suffix(".yaml").rename(new.parent / f"{first.stem}.yaml")
    new.rename(new.parent / first.name)
    new.parent.rename(first.parent)
    host.checkpoint = first
    after = JobManager(host)
    after.resume(interrupted)
    ends(after, interrupted)
    assert after.snapshot(interrupted).checkpoint == first.name
    after.close()


def test_the_lora_goes_into_the_lora_folder_where_that_lies_now(
    host: FakeHost, interrupted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = host.lora_folder(), host.root / "moved" / "Lora"
    monkeypatch.setattr(host, "lora_folder", lambda: new)
    after = JobManager(host)
    after.resume(interrupted)
    ends(after, interrupted)
    assert [path.name for path in new.glob("*.safetensors")] == ["gone.safetensors"]
    assert not list(old.glob("*")) if old.exists() else True
    assert after.lora_path(interrupted).parent == new
    after.close()


def test_another_file_in_its_place_is_not_taken_for_it(host: FakeHost, interrupted: str, run: ScriptedRun) -> None:
    old, new = host.checkpoint, move(host)
    with new.open("ab") as file:
        file.write(b"\0")
    after = JobManager(host)
    after.resume(interrupted)
    assert after.wait(interrupted, timeout=PATIENCE).state == "failed"
    assert f"is no longer at {old}" in after.snapshot(interrupted).problem
    assert run.started_at == [0]
    after.close()


def test_another_file_in_the_old_place_does_not_hide_the_right_one(
    host: FakeHost, interrupted: str, run: ScriptedRun
) -> None:
    old = host.checkpoint
    origin = RunFolder(host.data_folder() / "runs" / interrupted).origin()
    new = move(host)
    old.parent.mkdir()
    old.write_bytes(b"a newer version")
    assert moved_checkpoint(origin, [old, new]) == new
    after = JobManager(host)
    after.resume(interrupted)
    ends(after, interrupted)
    assert after.snapshot(interrupted).checkpoint == new.name
    after.close()


def test_what_changes_nothing_in_a_yaml_is_no_other_way_to_read(host: FakeHost) -> None:
    then = configuration_of(inspect_checkpoint(host.checkpoint))
    file = host.checkpoint.with_suffix(".yaml")
    values = yaml.safe_load(file.read_text())
    parameters = values["model"]["params"]
    parameters["unet_config"]["params"]["use_checkpoint"] = True
    parameters["timesteps"] = 1000  # as usual
    file.write_text(yaml.safe_dump(values))
    assert differences(then, inspect_checkpoint(host.checkpoint)) == []
    parameters["linear_start"] = 0.1
    file.write_text(yaml.safe_dump(values))
    assert differences(then, inspect_checkpoint(host.checkpoint)) == ["noise levels"]
    assert differences("", inspect_checkpoint(host.checkpoint)) == []


def test_of_two_copies_the_one_that_is_read_as_then_is_taken(host: FakeHost, interrupted: str) -> None:
    """The same weights with another yaml beside them are another model."""
    origin = RunFolder(host.data_folder() / "runs" / interrupted).origin()
    new = move(host)
    other = host.root / "another" / new.name
    shutil.copytree(new.parent, other.parent)
    values = yaml.safe_load(other.with_suffix(".yaml").read_text())
    values["model"]["params"]["parameterization"] = "v"
    other.with_suffix(".yaml").write_text(yaml.safe_dump(values))
    assert moved_checkpoint(origin, [other, new]) == new
    assert moved_checkpoint(origin, [other]) == other
    host.checkpoint = other
    after = JobManager(host)
    after.resume(interrupted)
    failed = after.wait(interrupted, timeout=PATIENCE)
    assert failed.state == "failed"
    assert "would be read in another way than when this run began (prediction)" in failed.problem
    assert f"by {other.stem}.yaml" in failed.problem
    after.close()


def test_files_that_cannot_be_read_are_passed_over(host: FakeHost, interrupted: str, tmp_path: Path) -> None:
    origin = RunFolder(host.data_folder() / "runs" / interrupted).origin()
    assert moved_checkpoint(origin, [host.checkpoint]) is None
    new = move(host)
    (tmp_path / "empty").mkdir()
    assert moved_checkpoint(origin, [tmp_path / "nowhere", tmp_path / "empty", new]) == new
