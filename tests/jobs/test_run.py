"""A run on its own: iterated over, stopped, saved, parked, given up, and watched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from erasure.config.settle import with_changes
from erasure.config.values import config_from_dict
from erasure.errors import RunError, TrainingError
from erasure.run.beginning import erase, resume
from erasure.run.events import Event, Measured, Preview, Saved, event_to_dict
from erasure.run.folder import RunFolder
from erasure.run.observers import Observer
from erasure.run.run import Run
from erasure.run.state import load_state
from erasure.run.task import Task
from erasure.run.tuned_model import TunedModel
from erasure.training.events import Step
from tests.jobs.scripted_run import CHANGE, ScriptedRun

pytestmark = pytest.mark.usefixtures("run")


@pytest.fixture
def task(tmp_path: Path, tiny_checkpoint: Path) -> Task:
    config = config_from_dict({"erase": ["church"], "steps": 4})
    return Task(tiny_checkpoint, tmp_path / "gone.safetensors", RunFolder(tmp_path / "run"), config)


def _until(begun: Run, step: int) -> Run:
    """The run after so many updates."""
    next(event for event in begun if isinstance(event, Step) and event.step == step)
    return begun


def _saved_step(folder: RunFolder) -> int:
    return int(load_state(folder.state)[1]["step"])


def _loras(task: Task) -> list[str]:
    return sorted(path.name for path in task.out.parent.glob("*.safetensors"))


class _Mine(Exception):
    pass


@pytest.mark.parametrize("error", [TrainingError("enough"), _Mine(), KeyboardInterrupt()])
def test_an_error_of_the_one_who_iterates_saves_the_state_alone(task: Task, error: BaseException) -> None:
    begun = _until(erase(task), 2)
    with pytest.raises(type(error)), begun:
        raise error
    assert _saved_step(task.folder) == 2
    assert _loras(task) == []
    assert list(begun) == []


def test_a_run_that_is_given_up_saves_nothing(task: Task) -> None:
    begun = _until(erase(task), 2)
    begun.give_up()
    assert (begun.stop(), begun.save(), list(begun)) == ([], None, [])
    assert not task.folder.state.exists()
    assert _loras(task) == []


def test_stopping_says_what_it_saved_and_the_log_says_the_same(task: Task) -> None:
    told = _until(erase(task), 3).stop()
    assert told == [
        Saved(3, task.folder.state),
        Preview(3, task.folder.pictures(3)),
        Saved(3, task.out.with_name("gone-step3.safetensors"), change=CHANGE),
    ]
    assert _saved_step(task.folder) == 3
    assert _loras(task) == ["gone-step3.safetensors"]
    logged = [json.loads(json.dumps(event_to_dict(event))) for event in told]
    assert [*task.folder.events()][-3:] == logged


def _leave(begun: Run) -> None:
    with begun:
        pass


@pytest.mark.parametrize("end", [_leave, Run.close])
def test_a_run_that_is_left_in_the_middle_loses_nothing(task: Task, end: Callable[[Run], None]) -> None:
    end(_until(erase(task), 3))
    assert _saved_step(task.folder) == 3
    assert _loras(task) == ["gone-step3.safetensors"]


def test_a_run_that_is_left_after_its_end_makes_nothing_more(task: Task) -> None:
    with erase(task) as begun:
        last = [*begun][-1]
        assert begun.stop() == []
    assert last == Saved(4, task.out, final=True, change=CHANGE)
    assert begun.rows == 32
    assert _loras(task) == ["gone.safetensors"]


def test_stopping_before_the_first_update_leaves_no_state_and_no_lora(task: Task) -> None:
    begun = erase(task)
    next(event for event in begun if _is_drawing(event))
    assert begun.stop() == []
    assert not task.folder.state.exists()
    assert _loras(task) == []


def test_saving_writes_the_state_alone_and_the_run_goes_on(task: Task) -> None:
    begun = _until(erase(task), 1)
    assert begun.save() == Saved(1, task.folder.state)
    assert _saved_step(task.folder) == 1
    assert _loras(task) == []
    assert [*begun][-1] == Saved(4, task.out, final=True, change=CHANGE)


def test_a_parked_run_is_on_the_cpu_with_its_state_saved_until_it_goes_on(task: Task, run: ScriptedRun) -> None:
    begun = _until(erase(task), 2)
    assert begun.park() == Saved(2, task.folder.state)
    assert _saved_step(task.folder) == 2
    begun.go_on("cuda:1")
    assert run.moves == ["cpu", "cuda:1"]
    assert [event.step for event in begun if isinstance(event, Step)] == [3, 4]


def test_the_device_is_free_even_if_the_state_cannot_be_saved(
    task: Task, run: ScriptedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise RunError("the state could not be written; free some space and resume")

    begun = _until(erase(task), 2)
    monkeypatch.setattr("erasure.run.run.save_state", full)
    with pytest.raises(RunError, match="free some space"):
        begun.park()
    assert run.moves == ["cpu"]


def test_an_event_is_in_the_log_before_it_is_given_out(task: Task) -> None:
    for event in erase(task):
        if isinstance(event, (Step, Preview, Saved)):
            assert [*task.folder.events()][-1] == json.loads(json.dumps(event_to_dict(event)))


# --- observers


class _Judge:
    """Counts pictures by script."""

    def __init__(self, asked: list[str], name: str):
        self._asked = asked
        self._name = name

    def after(self, step: Step) -> Iterator[Event]:
        self._asked.append(self._name)
        yield Measured(step.step, self._name, step.step / 10)


def test_observers_are_asked_after_every_update_in_their_order(task: Task) -> None:
    asked: list[str] = []

    def make(name: str) -> Callable[[TunedModel], Observer]:
        return lambda tuned: _Judge(asked, name)

    config = with_changes(task.config, save_every=2, preview_every=2)
    watched = Task(task.checkpoint, task.out, task.folder, config)
    kinds = [event for event in erase(watched, observers=[make("ESR"), make("PSR")]) if not _is_drawing(event)]
    assert asked == ["ESR", "PSR"] * 4
    after_two = kinds[kinds.index(Measured(1, "PSR", 0.1)) + 1 :][:5]
    assert [type(event).__name__ for event in after_two] == ["Step", "Saved", "Preview", "Measured", "Measured"]
    logged = [event for event in task.folder.events() if event["event"] == "measured"]
    assert logged[-1] == {"event": "measured", "step": 4, "series": "PSR", "value": 0.4}
    assert len(logged) == 8


def _is_drawing(event: Event) -> bool:
    return type(event).__name__ == "Stage"


def test_an_observer_that_fails_ends_the_run_with_its_state_saved(task: Task) -> None:
    class Broken:
        def after(self, step: Step) -> Iterator[Event]:
            if step.step == 2:
                raise OSError("no judge")
            yield Measured(step.step, "ESR", 1.0)

    begun = erase(task, observers=[lambda tuned: Broken()])
    with pytest.raises(OSError, match="no judge"):
        list(begun)
    assert _saved_step(task.folder) == 2
    with resume(task.folder) as again:
        assert [event.step for event in again if isinstance(event, Step)] == [3, 4]
