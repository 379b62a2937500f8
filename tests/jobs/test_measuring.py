"""Measuring a LoRA file beside the queue: who gets the device, how it ends, and that no name leaves the Lora folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from erasure.errors import ConfigError, JobConflict, LoraFileError
from erasure.jobs.lora_files import lora_file, lora_names
from erasure.jobs.manager import JobManager
from erasure.jobs.measuring import MeasureRequest, MeasureSnapshot
from erasure.verdict.measurement import Measurement, MeasureTask
from tests.fake_host import FakeHost
from tests.jobs.asked import request, until_it_says
from tests.jobs.scripted_run import PATIENCE, Hold, ScriptedRun
from tests.loras import random_lora
from tests.verdicts import a_verdict


class ScriptedMeasuring:
    """Measures by script: ``hold`` is called between two shares, or raises what it should fail with."""

    def __init__(self) -> None:
        self.hold: Any = lambda: None
        self.device = ""

    def __call__(self, task: MeasureTask, *, device: str) -> Generator[float, None, Measurement]:
        self.device = device
        yield 0.25
        self.hold()
        yield 0.5
        return Measurement(task, a_verdict(), (*task.notes, "a note"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ScriptedMeasuring:
    made = ScriptedMeasuring()
    monkeypatch.setattr("erasure.verdict.examine.examine_lora", made)
    monkeypatch.setattr("erasure.jobs.errand.free_memory", lambda: None)
    return made


@pytest.fixture
def held(script: ScriptedMeasuring) -> Iterator[Hold]:
    """Holds the measurement until the test lets it go on, at the latest when it ends."""
    script.hold = hold = Hold()
    yield hold
    hold.release()


@pytest.fixture
def wanted(host: FakeHost) -> MeasureRequest:
    file = random_lora(host.lora_folder() / "mine.safetensors")
    return MeasureRequest(host.checkpoint, file, {"erase": ["church"]}, 0.5)


def ended(manager: JobManager) -> MeasureSnapshot:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        shown = manager.measurement()
        if shown is not None and shown.state != "measuring":
            return shown
        time.sleep(0.005)
    raise AssertionError(f"still at it: {manager.measurement()}")


def test_a_measurement_takes_the_device_and_ends_with_a_verdict(
    host: FakeHost, manager: JobManager, script: ScriptedMeasuring, wanted: MeasureRequest
) -> None:
    assert manager.measurement() is None
    begun = manager.measure(wanted)
    assert (begun.state, begun.lora, begun.erase, begun.weight) == ("measuring", "mine.safetensors", ("church",), 0.5)
    done = ended(manager)
    assert (done.state, done.share, done.verdict, done.notes) == ("done", 1.0, a_verdict(), ("a note",))
    assert done.version > begun.version
    assert (host.calls, script.device) == (["enter", "leave"], "cpu")
    assert [(step, steps) for step, steps, _ in host.reports] == [(25, 100), (50, 100)]
    assert done.to_dict()["verdict"]["hurt"] == ["tower"]


def test_only_one_measurement_is_on_at_a_time(manager: JobManager, held: Hold, wanted: MeasureRequest) -> None:
    manager.measure(wanted)
    held.reached()
    with pytest.raises(JobConflict, match="a LoRA is being measured"):
        manager.measure(wanted)
    with pytest.raises(JobConflict, match="a LoRA is being measured"):
        manager.concepts(wanted.checkpoint, request_config(wanted))
    held.release()
    assert ended(manager).state == "done"
    manager.measure(wanted)
    assert ended(manager).state == "done"


def request_config(wanted: MeasureRequest) -> Any:
    from erasure.config.values import config_from_dict

    return config_from_dict(wanted.given)


def test_a_job_waits_for_the_measurement_and_runs_after_it(
    host: FakeHost, manager: JobManager, held: Hold, wanted: MeasureRequest
) -> None:
    manager.measure(wanted)
    held.reached()
    id = manager.submit(request(host))
    until_it_says(manager, id, "waits for the device")
    assert host.calls == ["enter"]
    held.release()
    assert manager.wait(id, timeout=PATIENCE).state == "done"


def test_nothing_is_measured_while_a_job_has_the_device_but_during_its_pause(
    host: FakeHost, manager: JobManager, run: ScriptedRun, script: ScriptedMeasuring, wanted: MeasureRequest
) -> None:
    hold = run.hold(2)
    id = manager.submit(request(host))
    hold.reached()
    with pytest.raises(JobConflict, match="gone is using the device"):
        manager.measure(wanted)
    assert manager.measurement() is None
    manager.pause(id)
    hold.release()
    manager.wait(id, ["paused"], PATIENCE)
    manager.measure(wanted)
    assert ended(manager).state == "done"
    manager.resume(id)
    assert manager.wait(id, timeout=PATIENCE).state == "done"


def test_a_measurement_can_be_cancelled_and_gives_the_device_back(
    host: FakeHost, manager: JobManager, held: Hold, wanted: MeasureRequest
) -> None:
    with pytest.raises(JobConflict, match="no LoRA is being measured"):
        manager.cancel_measurement()
    manager.measure(wanted)
    held.reached()
    manager.cancel_measurement()
    held.release()
    shown = ended(manager)
    assert (shown.state, shown.verdict) == ("cancelled", None)
    assert host.calls == ["enter", "leave"]
    manager.measure(wanted)
    assert ended(manager).state == "done"


def test_interrupt_in_the_host_cancels_it(
    host: FakeHost, manager: JobManager, held: Hold, wanted: MeasureRequest
) -> None:
    manager.measure(wanted)
    held.reached()
    host.interrupt = True
    held.release()
    assert ended(manager).state == "cancelled"


@pytest.mark.parametrize("place", ["in the middle", "at the device"])
def test_a_failure_is_told_and_the_device_is_free_again(
    host: FakeHost, manager: JobManager, script: ScriptedMeasuring, wanted: MeasureRequest, place: str
) -> None:
    def fails() -> None:
        raise LoraFileError("mine.safetensors does not fit")

    if place == "in the middle":
        script.hold = fails
    else:
        host.enter_fails = LoraFileError("mine.safetensors does not fit")
    manager.measure(wanted)
    shown = ended(manager)
    assert (shown.state, shown.problem) == ("failed", "mine.safetensors does not fit")
    script.hold, host.enter_fails = (lambda: None), None
    manager.measure(wanted)
    assert ended(manager).state == "done"


def test_what_was_found_is_kept_if_the_host_fails_to_take_its_device_back(
    host: FakeHost, manager: JobManager, script: ScriptedMeasuring, wanted: MeasureRequest
) -> None:
    host.exit_fails = RuntimeError("no device")
    manager.measure(wanted)
    assert ended(manager).verdict == a_verdict()


def test_what_cannot_be_measured_leaves_the_last_measurement_and_the_device_alone(
    host: FakeHost, manager: JobManager, script: ScriptedMeasuring, wanted: MeasureRequest
) -> None:
    manager.measure(wanted)
    last = ended(manager)
    with pytest.raises(ConfigError, match="does not say what it erases"):
        manager.measure(MeasureRequest(wanted.checkpoint, wanted.lora))
    assert manager.measurement() == last
    manager.measure(wanted)
    assert ended(manager).state == "done"


def test_the_end_of_the_program_ends_a_measurement(manager: JobManager, held: Hold, wanted: MeasureRequest) -> None:
    manager.measure(wanted)
    held.reached()
    threading.Timer(0.1, held.release).start()
    manager.close()  # waits, since Python would crash if it ended while torch works
    shown = manager.measurement()
    assert shown is not None
    assert shown.state == "cancelled"
    with pytest.raises(JobConflict, match="the program is ending"):
        manager.measure(wanted)


# --- names


def test_files_of_the_lora_folder_are_named_by_their_place_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "Lora"
    assert lora_names(folder) == []
    for name in ("b.safetensors", "A.safetensors", "styles/b.safetensors", "styles/c.d.safetensors", "note.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    assert lora_names(folder) == ["A", "b", "styles/b", "styles/c.d"]
    assert lora_file(folder, "b") == lora_file(folder, "b.safetensors") == folder / "b.safetensors"
    assert lora_file(folder, "styles/b") == folder / "styles" / "b.safetensors"
    assert lora_file(folder, "c.d") == folder / "styles" / "c.d.safetensors"


@pytest.mark.parametrize("name", ["../outside", "..", "/etc/passwd", "Lora/../../outside", "", "note", "sub\\..\\in"])
def test_no_name_of_a_lora_leaves_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "Lora"
    folder.mkdir()
    for path in (tmp_path / "outside.safetensors", folder / "in.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(ConfigError, match="lora: "):
        lora_file(folder, name)
    with pytest.raises(ConfigError):
        lora_file(folder, str(tmp_path / "outside.safetensors"))


def test_a_name_that_two_files_have_is_refused_with_both(tmp_path: Path) -> None:
    for name in ("one/x", "two/x"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="'one/x', 'two/x'"):
        lora_file(tmp_path, "x")
