"""One erasure from checkpoint to LoRA file: iterated over event by event, saved, parked and stopped in between."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from erasure.concepts.clashes import start_problems
from erasure.config.methods import METHODS
from erasure.config.settle import asked_of, notes_of
from erasure.config.values import config_from_dict
from erasure.errors import ConceptError, ConfigError, Diverged, EraseError, IneffectiveLora, RunError
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint, sha256, short_hash
from erasure.model.configuration import configuration_of, differences
from erasure.model.device import check_device
from erasure.model.opening import Ema, Opening
from erasure.model.rows import Purpose
from erasure.model.stage import Stage
from erasure.run.divergence import advice, diverged_before, divergence
from erasure.run.events import Before, Event, Judged, Opened, Planned, Saved
from erasure.run.finish import finish, keep_lora
from erasure.run.folder import Origin, RunFolder
from erasure.run.judging import judge_after, judge_before
from erasure.run.observers import MakeObserver, Observer, Previewer, StateSaver
from erasure.run.output import check_output, stopped_name
from erasure.run.pictures import RunPictures, open_run_pictures
from erasure.run.state import load_state, save_state
from erasure.run.task import ADJUSTABLE, Task
from erasure.run.tuned_model import TunedModel, memory_problems, open_tuned_model
from erasure.training.events import Look, Note, Step
from erasure.verdict.verdict import Verdict

# Errors that leave the weights whole: as they were after the last update.
_KEEPS_STATE = (EraseError, OSError, MemoryError, RuntimeError)

_BESIDES: tuple[Purpose, ...] = ("start", "verdict", "looks", "hostile")


def erase(task: Task, observers: Sequence[MakeObserver] = ()) -> Run:
    """Begin a new run; ``observers`` are made once its model is open, see :class:`Run`.

    Raises: CheckpointError, ConceptError, ConfigError, RunError, OutputExists if it cannot begin.
    """
    read = (task.checkpoint, task.opening.vae, *(parent.path for parent in task.parents))
    check_output(task.out, overwrite=task.overwrite, read=read)
    check_device(task.device, task.config.precision)
    if task.parents and METHODS[task.config.method].closed_form:
        raise ConfigError([f"method: {task.config.method} works in one step, so that no LoRAs can be its start"])
    problems = start_problems(task.config)
    if problems:
        raise ConceptError("; ".join(problems))
    checkpoint = inspect_checkpoint(task.checkpoint).opened(task.opening)
    path = checkpoint.path
    began = datetime.now(timezone.utc).timestamp()
    origin = Origin(
        # Not where a link leads to: the file there may have another name, and no yaml beside it.
        checkpoint=str(path.absolute()),
        sha256=sha256(path),
        short_hash=short_hash(path),
        out=str(task.out.resolve()),
        started=began,
        ema=("averaged" if checkpoint.averaged else "plain") if checkpoint.has_ema else "",
        vae="" if checkpoint.vae is None else str(checkpoint.vae.path.absolute()),
        configuration=configuration_of(checkpoint),
    )
    task.folder.create(origin, task.config, task.parents)
    if task.space is not None:
        task.folder.save_space(task.space)
    return Run(task, checkpoint, observers=observers)


def resume(
    folder: RunFolder,
    *,
    checkpoint: Path | None = None,
    device: str = "cpu",
    out: Path | None = None,
    overwrite: bool = False,
    changes: Mapping[str, object] | None = None,
    prompts: int | None = None,
    even_diverged: bool = False,
    vae: Path | None = None,
    observers: Sequence[MakeObserver] = (),
) -> Run:
    """Go on with a run that was interrupted. Without ``changes`` it ends with the weights that it would have had.

    ``checkpoint``: where the file lies now, if it was moved; ``changes``: settings of ``ADJUSTABLE``, for a run that
    diverged or ran out of memory; ``vae``: another VAE to draw pictures with. Raises: RunError if there is nothing to
    resume, or the checkpoint is no longer the same file; Diverged if the run did and is not to make more steps;
    CheckpointError, ConfigError.
    """
    refused = sorted(set(changes or {}) - set(ADJUSTABLE))
    if refused:
        raise ConfigError([f"{name}: a resumed run cannot change it, only {', '.join(ADJUSTABLE)}" for name in refused])
    origin, used = folder.read()
    config = config_from_dict({**asked_of(used), **changes}) if changes else used
    if bool(config.pace) != bool(used.pace):
        raise ConfigError(["pace: a resumed run can change it, but not begin or cease to have one"])
    worse = "" if even_diverged else diverged_before(config, folder.events(), longer="steps" in (changes or {}))
    if worse:
        raise Diverged(
            f"the training of this run diverged: {worse}. It is over, and resuming it would end the same way. Begin "
            f"anew with {advice(used)}; the other settings are in {folder.path / 'run.json'}, which --config takes"
        )
    task = Task(
        checkpoint=checkpoint or Path(origin.checkpoint),
        out=out or Path(origin.out),
        folder=folder,
        config=config,
        device=device,
        overwrite=overwrite,
        prompts=prompts,
        space=folder.space(),
        even_diverged=even_diverged,
        parents=folder.parents(),
    )
    before = (vae, Path(origin.vae) if origin.vae else None)
    check_output(task.out, overwrite=overwrite, read=(task.checkpoint, *before))
    check_device(device, config.precision)
    if checkpoint is None and not task.checkpoint.exists():
        raise RunError(
            f"the checkpoint that this run began with is no longer at {task.checkpoint}; put it back, or, on the "
            "command line, say with --checkpoint where it lies now"
        )
    found = inspect_checkpoint(task.checkpoint)
    if sha256(found.path) != origin.sha256:
        raise RunError(
            f"{found.path.name} is not the checkpoint that this run began with (its sha256 differs); "
            "put the old file back, or start a new run"
        )
    if apart := differences(origin.configuration, found):
        raise RunError(
            f"{found.path.name} would be read in another way than when this run began ({', '.join(apart)}), by "
            f"{found.config.name}; put the file back that lay beside the checkpoint then, with the same name, or take "
            "this one away if there was none; or start a new run"
        )
    return Run(task, found.opened(_as_before(origin, found, vae)), from_state=True, observers=observers)


def _as_before(origin: Origin, checkpoint: CheckpointInfo, vae: Path | None) -> Opening:
    """Return how the checkpoint was opened when the run began; with another VAE if one is given."""
    # Older runs do not say it: the averaged weights were taken wherever there were some.
    ema: Ema = "averaged" if origin.ema == "averaged" or (not origin.ema and checkpoint.has_ema) else "plain"
    before = Path(origin.vae) if origin.vae else None
    if vae is None and before is not None and before.exists():
        vae = before
    return Opening(ema, vae, spare_vae=before)


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
        """For :func:`erase` and :func:`resume`. ``from_state``: go on from the state in the run folder, if any."""
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
