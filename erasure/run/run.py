"""One erasure from checkpoint to LoRA file: iterated over event by event, saved, parked and stopped in between.

:mod:`erasure.run.beginning` begins one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from erasure.config.settle import notes_of
from erasure.errors import Diverged, EraseError, IneffectiveLora
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.rows import Purpose
from erasure.model.stage import Stage
from erasure.run.divergence import advice, divergence
from erasure.run.events import Before, Event, Judged, Opened, Planned, Saved
from erasure.run.finish import finish, keep_lora
from erasure.run.judging import judge_after, judge_before
from erasure.run.observers import MakeObserver, Observer, Previewer, StateSaver
from erasure.run.output import stopped_name
from erasure.run.pictures import RunPictures, open_run_pictures
from erasure.run.state import load_state, save_state
from erasure.run.task import Task
from erasure.run.tuned_model import TunedModel, memory_problems, open_tuned_model
from erasure.training.events import Look, Note, Step
from erasure.verdict.verdict import Verdict

# Errors that leave the weights whole: as they were after the last update.
_KEEPS_STATE = (EraseError, OSError, MemoryError, RuntimeError)

_BESIDES: tuple[Purpose, ...] = ("start", "verdict", "looks", "hostile")


class Run:
    """An erasure that is going on. Iterate over its events; it pauses while nobody asks for the next one.

    Every event is in the run folder's log before it is given out. After every update the observers are asked, one
    after the other: first the one that saves the state, then the one that draws previews, then those that were given.
    An error ends the run with its last good state saved, and is raised: so does training that diverged.

    As a context manager it loses no work: leaving the block early stops the run, and an exception in the block saves
    its state alone.
    """

    def __init__(
        self,
        task: Task,
        checkpoint: CheckpointInfo,
        *,
        from_state: bool = False,
        observers: Sequence[MakeObserver] = (),
    ):
        """``from_state``: go on from the state in the run folder, if any."""
        self.folder = task.folder
        self.rows = 0  # U-Net rows evaluated in training so far
        # And for looks, for judging before and for measuring hostile wordings, since this process began with the run.
        self.rows_steering = 0
        self._task = task
        self._checkpoint = checkpoint
        self._from_state = from_state
        self._observers = observers
        self._device = task.device
        self._tuned: TunedModel | None = None  # before it is open, and after the end
        self._pictures: RunPictures | None = None
        self._verdict: Verdict | None = None  # after training
        self._saved = 0  # the update whose state is on disk
        self._events: Generator[Event, None, None] | None = self._work()  # None after the end

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if self._events is None:
            raise StopIteration
        with self._keeping_state():
            event = next(self._events, None)
            if event is not None:
                self._log(event)
        if event is None:
            self.give_up()
            raise StopIteration
        if isinstance(event, Saved) and event.final:
            self.give_up()  # now, so that leaving the block has nothing left to save
        return event

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None or isinstance(error, GeneratorExit):
            self.close()
            return
        with suppress(*_KEEPS_STATE):  # the first error says more
            self.save()
        self.give_up()

    @property
    def step(self) -> int:
        """Updates made so far; 0 before the model is open and after the end."""
        return self._tuned.training.step if self._tuned is not None else 0

    # --- between two events

    def save(self) -> Saved | None:
        """Save the state alone. None if there is nothing to save: before the first update and after the end.

        Raises: RunError.
        """
        if self._tuned is None or not self.step:
            return None
        saved = self._save_state(self._tuned)
        self._log(saved)
        return saved

    def park(self) -> Saved | None:
        """Save the state, and free the device until :meth:`go_on`.

        Raises: RunError if the state cannot be saved; the device is free even then.
        """
        try:
            return self.save()
        finally:
            if self._tuned is not None:
                self._tuned.move("cpu")

    def go_on(self, device: str) -> None:
        """Take up a parked run again, on the same device or another."""
        self._device = device
        if self._tuned is not None:
            self._tuned.move(device)

    def stop(self) -> list[Event]:
        """End the run: save its state, and then a LoRA file with the number of updates in its name.

        Returns what was drawn and saved: no LoRA if it changes nothing yet, and nothing at all before the first update
        and after the end. Raises: EraseError, OSError; the state is saved first, so that nothing is lost.
        """
        told: list[Event] = []
        if self._events is not None:
            self._events.close()
            with self._keeping_state():
                for event in self._last_events():
                    self._log(event)
                    told.append(event)
        self.give_up()
        return told

    def give_up(self) -> None:
        """End the run without saving anything more."""
        if self._events is not None:
            self._events.close()
        self._events = self._tuned = self._pictures = None

    def close(self) -> None:
        """Stop the run if it has not ended. The name is that which :func:`contextlib.closing` calls."""
        self.stop()

    # --- what happens in it

    def _work(self) -> Generator[Event, None, None]:
        config, folder = self._task.config, self.folder
        tuned = self._tuned = yield from open_tuned_model(
            self._checkpoint, config, self._device, self._task.space, self._task.album, self._task.parents
        )
        folder.save_space(tuned.space)
        yield tuned.facts()
        if self._from_state and folder.state.exists():
            self._load_state(tuned)
            yield Note(f"resumed after update {self.step} of {config.updates}")
        for note in (*tuned.notes, *notes_of(config), *tuned.space.notes):
            yield Note(note)
        yield Planned(tuned.plan)

        pictures = self._pictures = yield from open_run_pictures(tuned, folder, config, self._task.prompts)
        yield Before(folder.before)
        if tuned.examination is not None:
            yield from judge_before(tuned.examination, folder)
            look = tuned.steer()
            if look is not None and not self.step:
                yield look
        self.rows_steering = _rows_besides(tuned)
        saver = StateSaver(config.save_every, lambda: self._save_state(tuned))
        previewer = Previewer(config.preview_every, pictures)
        observers: list[Observer] = [saver, previewer, *(make(tuned) for make in self._observers)]
        yield Stage("makes the next update" if self.step else "makes the first update")
        for event in tuned.training:
            yield event
            if isinstance(event, (Look, Note)):
                self.rows_steering = _rows_besides(tuned)
            if isinstance(event, Step):
                self.rows = event.rows
                for observer in observers:
                    yield from observer.after(event)
        self._save_state(tuned)
        if tuned.examination is not None and config.judged_words:
            self._verdict = yield from judge_after(tuned.examination, self.step)
            yield Judged(self.step, self._verdict)
            pictures = self._pictures = yield from pictures.with_worst(self._verdict)
        worse = "" if self._task.even_diverged else divergence(config, folder.events(), self._verdict)
        if worse and config.updates > 1:  # closed forms solve their problem, whatever they do to pictures
            yield from self._diverged(pictures, worse)
        yield from self._make_lora(pictures, self._task.out, final=True)

    def _diverged(self, pictures: RunPictures, worse: str) -> Iterator[Event]:
        """Yield the pictures, and keep the LoRA in the run folder alone. Raises: Diverged."""
        preview, rows = pictures.preview()
        yield preview
        keep_lora(self._task, pictures, rows, self._task.out, self._verdict)
        raise Diverged(
            f"training diverged: {worse}. The LoRA is not put into its place (it lies in the run folder as "
            f"{self.folder.lora.name}). Start again with {advice(self._task.config)}"
        )

    def _last_events(self) -> Iterator[Event]:
        """Yield what stopping the run makes, the state first."""
        if self._tuned is None or not self.step:
            return
        yield self._save_state(self._tuned)
        if self._pictures is not None:
            out = stopped_name(self._task.out, self.step)
            with suppress(IneffectiveLora):  # expected after very few updates
                yield from self._make_lora(self._pictures, out)

    def _make_lora(self, pictures: RunPictures, out: Path, *, final: bool = False) -> Iterator[Event]:
        preview, rows = pictures.preview()
        yield preview
        change = finish(self._task, pictures, rows, out, self._verdict)
        yield Saved(preview.step, out, final=final, change=change)

    def _load_state(self, tuned: TunedModel) -> None:
        tensors, meta = load_state(self.folder.state)
        tuned.training.load(tensors, meta)
        self._saved, self.rows = tuned.training.step, int(meta.get("rows", 0))

    def _save_state(self, tuned: TunedModel) -> Saved:
        training = tuned.training
        save_state(self.folder.state, training.tensors(), training.meta())
        self._saved = training.step
        return Saved(training.step, self.folder.state)

    def _log(self, event: Event) -> None:
        if not isinstance(event, (Opened, Stage)):
            self.folder.log(event)

    @contextmanager
    def _keeping_state(self) -> Iterator[None]:
        """End the run on an error in the block, and save the state of updates since it was last saved."""
        try:
            with memory_problems():
                yield
        except BaseException as error:
            if self._tuned is not None and isinstance(error, _KEEPS_STATE) and self.step > self._saved:
                with suppress(*_KEEPS_STATE):  # the first error says more
                    self._save_state(self._tuned)
            self.give_up()
            raise


def _rows_besides(tuned: TunedModel) -> int:
    """Return the rows for what training needs besides its updates."""
    return int(sum(tuned.rows[purpose].total for purpose in _BESIDES))
