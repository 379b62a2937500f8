"""Combining beside the queue, and as the start of a job: who gets the device, where files go, what is left of them."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from erasure.combine.combining import combine
from erasure.combine.pictures import Comparison
from erasure.combine.task import CombineTask
from erasure.errors import ConfigError, JobConflict, LoraFileError
from erasure.jobs.combining import CombineRequest, CombineSnapshot
from erasure.jobs.manager import JobManager
from erasure.jobs.record import read_record, write_record
from erasure.lora.file import read_lora
from erasure.lora.parent import Parent
from erasure.run.picture_folder import Subject
from erasure.run.preview import BeforeAfter
from erasure.run.task import Task
from erasure.ui.combine import combine_html
from tests.fake_host import FakeHost
from tests.jobs.asked import ends, request
from tests.jobs.scripted_run import PATIENCE, Hold, ScriptedRun
from tests.loras import random_lora


@pytest.fixture
def wanted(host: FakeHost) -> CombineRequest:
    files = [random_lora(host.lora_folder() / f"{name}.safetensors", {"erase": [name]}) for name in ("church", "bell")]
    return CombineRequest([(files[0], 1.0), (files[1], 0.5)], "new")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Holds the combination after its first layer."""
    hold = Hold()

    def slow(task: CombineTask) -> Generator[float, None, Any]:
        making = combine(task)
        yield next(making)
        hold()
        return (yield from making)

    monkeypatch.setattr("erasure.combine.combining.combine", slow)
    return hold


def ended(manager: JobManager) -> CombineSnapshot:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        shown = manager.combine_snapshot()
        if shown is not None and shown.state != "combining":
            return shown
        time.sleep(0.005)
    raise AssertionError(f"still at it: {manager.combine_snapshot()}")


def loras(host: FakeHost) -> set[str]:
    return {path.name for path in host.lora_folder().iterdir()}


def test_the_new_lora_lies_in_the_lora_folder_with_its_card(
    host: FakeHost, manager: JobManager, wanted: CombineRequest
) -> None:
    before = loras(host)
    begun = manager.combine(wanted)
    assert (begun.state, begun.name, begun.erases) == ("combining", "new.safetensors", ("church", "bell"))
    assert begun.loras == (("church.safetensors", 1.0), ("bell.safetensors", 0.5))
    done = ended(manager)
    assert (done.state, done.share, done.problem, done.rank, done.left_out) == ("done", 1.0, "", 4, 0.0)
    assert loras(host) - before == {"new.safetensors", "new.json"}
    card = json.loads((host.lora_folder() / "new.json").read_text(encoding="utf-8"))
    assert card["description"] == "Erases church, bell"
    assert "church (weight 1, erases church), bell (weight 0.5, erases bell)" in card["notes"]
    assert card["sd version"] == "SD1"
    assert host.calls == ["enter", "leave"]
    with pytest.raises(ConfigError, match="there is a LoRA 'new' already"):
        manager.combine(wanted)
    assert manager.combine_snapshot() == done


def test_without_a_name_it_is_called_by_what_it_erases(manager: JobManager, wanted: CombineRequest) -> None:
    assert manager.combine(replace(wanted, name="")).name == "erase-church-bell.safetensors"
    ended(manager)
    assert manager.combine(replace(wanted, name="")).name == "erase-church-bell-2.safetensors"
    ended(manager)


def test_it_can_be_cancelled_and_nothing_of_it_is_left(
    host: FakeHost, manager: JobManager, held: Hold, wanted: CombineRequest
) -> None:
    before = loras(host)
    with pytest.raises(JobConflict, match="nothing is being combined"):
        manager.cancel_combine()
    manager.combine(wanted)
    held.reached()
    with pytest.raises(JobConflict, match="LoRAs are being combined"):
        manager.combine(replace(wanted, name="other"))
    manager.cancel_combine()
    held.release()
    assert ended(manager).state == "cancelled"
    assert loras(host) == before


def test_nothing_is_combined_while_a_job_has_the_device(
    host: FakeHost, manager: JobManager, run: ScriptedRun, wanted: CombineRequest
) -> None:
    hold = run.hold(2)
    id = manager.submit(request(host))
    hold.reached()
    with pytest.raises(JobConflict, match="is using the device"):
        manager.combine(wanted)
    with pytest.raises(ConfigError, match="or a job makes it"):
        manager.refine(replace(wanted, name="gone"), host.checkpoint)
    hold.release()
    manager.wait(id, timeout=PATIENCE)


def test_a_failure_is_told_and_leaves_nothing(
    host: FakeHost, manager: JobManager, wanted: CombineRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = loras(host)
    with monkeypatch.context() as patch:
        patch.setattr("erasure.lora.file.save_file", full)
        manager.combine(wanted)
        failed = ended(manager)
    assert failed.state == "failed"
    assert "No space left on device" in failed.problem
    assert loras(host) == before


@pytest.mark.parametrize("name", ["../new", "con", "a/b", "a\0b", ".hidden"])
def test_a_name_leads_nowhere_else(manager: JobManager, wanted: CombineRequest, name: str) -> None:
    with pytest.raises(ConfigError, match="the LoRA cannot be called"):
        manager.combine(replace(wanted, name=name))
    assert manager.combine_snapshot() is None


def test_pictures_are_drawn_with_a_checkpoint_if_asked(
    host: FakeHost, manager: JobManager, wanted: CombineRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(task: CombineTask, checkpoint: Any, device: str) -> Generator[float, None, Comparison]:
        assert read_lora(task.out)
        yield 0.5
        if failing:
            raise RuntimeError("no memory")
        before, after = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
        church = BeforeAfter(Subject("church", "a photo of a church", "erased"), (1, 2), (before,) * 2, (after,) * 2)
        return Comparison(before, [church])

    failing = False
    monkeypatch.setattr("erasure.combine.pictures.comparison", drawn)
    drawing = replace(wanted, checkpoint=host.checkpoint)
    manager.combine(drawing)
    assert (ended(manager).state, ended(manager).pictures) == ("done", True)
    png = manager.combine_pictures()
    assert png is not None
    assert png.startswith(b"\x89PNG")
    html = combine_html(manager.combine_snapshot(), png)
    assert 'src="data:image/png;base64,' in html
    with Image.open(host.lora_folder() / f"{wanted.name}.png") as cover:  # beside the LoRA, where web UIs show it
        assert (cover.getpixel((2, 2)), cover.getpixel((cover.width - 2, 2))) == ((255, 0, 0, 255), (0, 0, 255, 255))
    failing = True
    manager.combine(replace(drawing, name="next"))
    done = ended(manager)
    assert (done.state, done.pictures, manager.combine_pictures()) == ("done", False, None)
    assert any("the pictures could not be drawn: " in note for note in done.notes)
    assert (host.lora_folder() / "next.safetensors").is_file()
    assert not (host.lora_folder() / "next.png").exists()


# --- as the start of a job


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """What runs were begun with."""
    from erasure.run import beginning as module

    seen: list[Task] = []
    erase = module.erase

    def noted(task: Task) -> Any:
        seen.append(task)
        return erase(task)

    monkeypatch.setattr(module, "erase", noted)
    return seen


def parents_of(request: CombineRequest) -> tuple[Parent, ...]:
    return tuple(Parent(path, weight, (path.stem,)) for path, weight in request.loras)


def test_a_refinement_is_a_job_that_starts_from_the_files(
    host: FakeHost, manager: JobManager, wanted: CombineRequest, begun: list[Task]
) -> None:
    id = manager.refine(replace(wanted, given={"steps": 3}, preserve=["dog"]), host.checkpoint)
    ends(manager, id)
    [task] = begun
    assert task.parents == parents_of(wanted)
    assert (task.config.erase, task.config.preserve, task.config.rank) == (("church", "bell"), ("dog",), 4)
    assert task.out == host.lora_folder() / "new.safetensors"
    shown = manager.snapshot(id)
    assert shown.name == "new"
    assert "training starts from church (weight 1), bell (weight 0.5)" in shown.notes


def test_a_refinement_that_was_queued_begins_after_a_restart(
    host: FakeHost, run: ScriptedRun, wanted: CombineRequest, begun: list[Task]
) -> None:
    asleep = JobManager(host, start=False)
    id = asleep.refine(replace(wanted, rank=3, given={"steps": 3}), host.checkpoint)
    asleep.close()
    manager = JobManager(host)
    try:
        manager.resume(id)
        ends(manager, id)
    finally:
        manager.close()
    [task] = begun
    assert (task.parents, task.config.rank) == (parents_of(wanted), 3)


def test_a_refinement_whose_files_are_gone_fails_with_their_name(
    host: FakeHost, manager: JobManager, run: ScriptedRun, wanted: CombineRequest
) -> None:
    hold = run.hold(2)
    first = manager.submit(request(host))
    hold.reached()
    id = manager.refine(replace(wanted, given={"steps": 3}), host.checkpoint)
    wanted.loras[1][0].unlink()
    hold.release()
    manager.wait(first, timeout=PATIENCE)
    failed = manager.wait(id, timeout=PATIENCE)
    assert failed.state == "failed"
    assert "bell.safetensors" in failed.problem


def test_what_cannot_be_refined_is_refused_at_once(host: FakeHost, manager: JobManager, wanted: CombineRequest) -> None:
    foreign = random_lora(host.lora_folder() / "foreign.safetensors", strength=0.2)
    with pytest.raises(ConfigError, match="foreign cannot be refined without saying"):
        manager.refine(replace(wanted, loras=[(foreign, 1.0)]), host.checkpoint)
    with pytest.raises(ConfigError, match="rows: "):
        manager.refine(wanted, host.checkpoint, 0)
    with pytest.raises(LoraFileError, match="no LoRA"):
        manager.refine(replace(wanted, loras=[(host.checkpoint.with_suffix(".safetensors"), 1.0)]), host.checkpoint)
    assert manager.snapshots() == []


@pytest.mark.parametrize(
    "parents", [None, {}, "x", [3, {}], [{"path": ""}], {"a": 1}, [{"path": "a", "weight": "x", "erases": 3}]]
)
def test_a_record_that_was_edited_is_read(host: FakeHost, manager: JobManager, parents: Any) -> None:
    folder = manager._table.job(manager.submit(request(host))).folder
    ends(manager, folder.path.name)
    made = (Parent(Path("a"), 0.5, ("church",)), Parent(Path("b")))
    write_record(folder, replace(read_record(folder), parents=made))
    assert read_record(folder).parents == made
    folder.write_job({**folder.read_job(), "parents": parents})
    assert read_record(folder).parents in ((), (Parent(Path("a")),))
