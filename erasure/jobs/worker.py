"""Runs one job: takes the device, iterates over the run's events, and gives the device back during a pause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from erasure.errors import Diverged, EraseError, RunError
from erasure.host.base import Host
from erasure.jobs.gate import Gate
from erasure.jobs.job import JobState, Result, is_there
from erasure.jobs.live import LiveJob, Wish, logger
from erasure.jobs.memory import free_memory
from erasure.jobs.moved import moved_checkpoint
from erasure.jobs.names import free_name
from erasure.jobs.problems import describe, traceback_of
from erasure.jobs.progress import Progress
from erasure.jobs.speed import Speed, Stopwatch

if TYPE_CHECKING:
    from erasure.run.run import Run


@dataclass(frozen=True)
class Outcome:
    """How a job ended. ``state``: None if it was discarded; ``result`` and ``speed``: None if there is nothing new."""

    state: JobState | None
    result: Result | None = None
    speed: Speed | None = None
    problem: str = ""
    log: str = ""
    diverged: bool = False


class Worker:
    """One job from its turn in the queue to its end."""

    def __init__(self, job: LiveJob, host: Host, gate: Gate, at_pause: Callable[[], None]):
        """``gate`` keeps others of this process off the device; ``at_pause`` is called whenever the job is paused."""
        self._job = job
        self._host = host
        self._gate = gate
        self._at_pause = at_pause
        self._progress = Progress(job, host)
        self._run: Run | None = None
        self._outcome: Outcome | None = None
        self._resumed = False  # part of the run was made before, and took time that nobody measured
        self._on_device = Stopwatch()

    def run(self) -> Outcome:
        """Work until the job ends: on the device, and without it while the job is paused.

        Never raises. Whatever happens, the device is given back and the models are freed when it returns.
        """
        while self._outcome is None:
            try:
                self._work()
                if self._outcome is None:
                    self._pause()
            except BaseException as error:
                if self._outcome is None:  # the host could not hand over the device
                    self._outcome = self._failure(error)
                else:
                    self._job.note(f"the host had a problem taking the device back: {describe(error)}")
                    logger.error("%s", traceback_of(error))
        self._free_models()
        return self._outcome

    # --- with the device

    def _work(self) -> None:
        """Take the device, and work until the run ends or is to pause."""
        with self._device(), self._on_device.running():
            try:
                self._outcome = self._train()
                if self._outcome is None:
                    self._park()
            except BaseException as error:
                self._outcome = self._failure(error)
            if self._outcome is not None:
                # Now, since on leaving this block the host loads its own model again.
                self._free_models()

    @contextmanager
    def _device(self) -> Iterator[None]:
        job = self._job
        job.say("waits for the device")
        with job.changed:
            job.waits = True
            job.changed.notify_all()  # whoever ends the program need not wait for this job
        try:
            with self._gate.held(job.id), self._host.exclusive(job.record.name):
                job.waits = False
                yield
        finally:
            job.waits = False

    def _train(self) -> Outcome | None:
        """Return how the job ended; None if it is to pause."""
        if self._wish() == "discard":
            return self._discarded()
        if self._run is None:
            self._job.say("reads the checkpoint")
            run = self._run = self._begin()
        else:
            run = self._run
            run.go_on(self._host.device())
            self._progress.enter_running()
        while True:
            wish = self._wish()
            if wish == "discard":
                return self._discarded()
            if self._progress.ended:  # its LoRA is in its place: nothing is left to pause, to stop or to resume
                return self._done()
            if wish == "pause":
                return None
            if wish == "stop":
                return self._stop(run)
            if wish == "close":
                return self._interrupted()
            event = next(run, None)
            if event is None:
                return self._done()
            self._progress.see(event)

    def _begin(self) -> Run:
        from erasure.run.beginning import erase, resume
        from erasure.run.task import Task

        job, device = self._job, self._host.device()
        out = self._place()
        if job.folder.holds_run:
            self._resumed = True
            more = {"steps": job.record.train_to} if job.record.train_to else None
            origin = job.folder.origin()
            moved = moved_checkpoint(origin, (offered.path for offered in self._host.checkpoints()))
            place = origin.checkpoint if moved is None else str(moved.absolute())
            if moved is not None or not is_there(job.record.checkpoint):  # it may also lie in its first place again
                with job.changed:
                    job.amend(replace(job.record, checkpoint=place))
            if moved is not None:
                job.note(f"the checkpoint has been moved since the run began; it goes on with {moved.name}")
            return resume(job.folder, checkpoint=moved, device=device, out=out, changes=more)
        checkpoint = Path(job.record.checkpoint)
        parents = job.record.parents
        gone = [parent.path.name for parent in parents if not parent.path.is_file()]
        if gone:
            raise RunError(f"{', '.join(gone)} is no longer there, but training was to start from it; put it back")
        opening = self._host.opening(checkpoint)
        return erase(Task(checkpoint, out, job.folder, job.config, device, opening=opening, parents=parents))

    def _place(self) -> Path:
        """Return where the LoRA goes: into the Lora folder as it is now, which may have been moved since the order."""
        job, folder = self._job, self._host.lora_folder()
        folder.mkdir(parents=True, exist_ok=True)
        wanted = Path(job.record.out)
        name = free_name(wanted.stem, folder)
        out = folder / f"{name}.safetensors"
        if out != wanted:
            with job.changed:
                job.amend(replace(job.record, out=str(out)))
        if name != wanted.stem:
            job.note(f"the LoRA will be called {name}: another file has taken its first name in the meantime")
        return out

    def _park(self) -> None:
        """Save the state, in case the process ends during the pause, and take the model off the device."""
        if self._run is None:
            return
        step = self._run.step
        try:
            self._run.park()
        except EraseError as error:
            self._job.note(f"at the pause after update {step}: {error}")

    # --- without the device

    def _pause(self) -> None:
        """Wait until something else is wished."""
        job = self._job
        with job.changed:
            if job.wish == "pause":
                job.enter("paused", f"paused after update {job.history.step}; the device is free")
                self._at_pause()
            job.changed.wait_for(lambda: job.wish != "pause")
            wish = job.wish
        if wish == "discard":
            self._outcome = self._discarded()
        elif wish == "close":
            self._outcome = self._interrupted()

    # --- what is wished

    def _wish(self) -> Wish:
        """Return what the user wishes; Interrupt in the host means stop, unless there is another wish."""
        if not self._job.wish and self._host_interrupted():
            with self._job.changed:
                self._job.wish = self._job.wish or "stop"
        return self._job.wish

    def _host_interrupted(self) -> bool:
        try:
            return self._host.interrupted()
        except Exception:
            logger.exception("the host could not say whether it was interrupted")
            return False

    # --- ends

    def _done(self) -> Outcome:
        result = self._progress.result
        if result is None:
            return Outcome("failed", problem="the run ended without a LoRA file")
        return Outcome("done", result, self._speed())

    def _stop(self, run: Run) -> Outcome:
        self._job.enter("stopping", "saves what there is")
        self._progress.report()
        for event in run.stop():
            self._progress.see(event)
        if self._progress.ended:
            return self._done()
        return Outcome("stopped", self._progress.result, self._speed())

    def _discarded(self) -> Outcome:
        if self._run is not None:
            self._run.give_up()
        # Its LoRA may be in place already, and is deleted then.
        return Outcome(None, self._progress.result)

    def _interrupted(self) -> Outcome:
        self._save_and_give_up()
        return Outcome("interrupted")

    def _failure(self, error: BaseException) -> Outcome:
        self._save_and_give_up()
        diverged = isinstance(error, Diverged)
        return Outcome("failed", problem=describe(error), log=traceback_of(error), diverged=diverged)

    def _save_and_give_up(self) -> None:
        """End the run with its state saved. A run that failed has done both itself."""
        if self._run is None:
            return
        try:
            self._run.save()
        except Exception as error:
            logger.warning("the state was not saved at the end of the run: %s", describe(error))
            traceback_of(error)  # frees what its frames hold
        self._run.give_up()

    def _free_models(self) -> None:
        self._run = None
        free_memory()

    def _speed(self) -> Speed | None:
        """Return what the whole run took, for estimates of later ones; None if part of it was made before."""
        history, opened = self._job.history, self._progress.opened
        if self._resumed or not history.rows or opened is None:
            return None
        apart = max(0.0, self._on_device.seconds - history.seconds)
        return Speed(**asdict(opened), rows=history.rows, seconds=history.seconds, apart=apart)
