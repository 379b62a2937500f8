"""Runs one job: takes the device, iterates over the run's events, and gives the device back while it is paused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from erasure.errors import EraseError
from erasure.host.base import Host
from erasure.jobs.concept_cache import free_memory
from erasure.jobs.ending import result_of
from erasure.jobs.gate import Gate
from erasure.jobs.job import JobState, Result
from erasure.jobs.live import LiveJob, Wish, logger
from erasure.jobs.names import free_name
from erasure.jobs.problems import describe, traceback_of
from erasure.run.events import Drawing, Event, Opened, Preview, Saved, event_to_dict
from erasure.run.preview import RunPreview
from erasure.training.events import Step

if TYPE_CHECKING:
    from erasure.run.run import Run


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its state (None: discarded) and what else changes in its record."""

    state: JobState | None
    changes: dict[str, Any] = field(default_factory=dict)


class Worker:
    """One job from its turn in the queue to its end."""

    def __init__(self, job: LiveJob, host: Host, gate: Gate, tell: Callable[[], None]):
        """``gate`` keeps others of this process off the device; ``tell`` is called when the job pauses."""
        self._job = job
        self._host = host
        self._gate = gate
        self._tell = tell
        self._run: Run | None = None
        self._outcome: Outcome | None = None
        self._result: Result | None = None
        self._ended = False  # the run came to its end
        self._picture: RunPreview | None = None  # pictures that the host has not seen yet
        self._fresh = True  # not resumed: the seconds on the device are those of the whole run
        self._busy = 0.0  # seconds on the device before it was last taken
        self._began = 0.0
        self._speed: dict[str, Any] = {}

    def run(self) -> Outcome:
        """Never raises. Whatever happens, the device is free and the models are gone when it returns."""
        while self._outcome is None:
            try:
                self._hold_device()
                if self._outcome is None:
                    self._rest()
            except BaseException as error:
                # The host could not hand over the device, or had trouble taking it back.
                if self._outcome is None:
                    self._outcome = self._failure(error)
                else:
                    self._job.note(f"the host had a problem taking the device back: {describe(error)}")
                    logger.error("%s", traceback_of(error))
        self._let_go()
        return self._outcome

    def _hold_device(self) -> None:
        """Until the run ends or is to pause."""
        with self._device():
            self._began = time.monotonic()
            try:
                self._outcome = self._go_on()
                if self._outcome is None:
                    self._leave()
            except BaseException as error:
                self._outcome = self._failure(error)
            self._busy += time.monotonic() - self._began
            if self._outcome is not None:
                # Now, since the host loads its own model back into memory next.
                self._let_go()

    @contextmanager
    def _device(self) -> Iterator[None]:
        job = self._job
        job.say("waits for the device")
        with job.changed:
            job.waits = True
            job.changed.notify_all()  # one that ends the program need not wait for this job
        try:
            with self._gate.held(job.id), self._host.exclusive(job.record.name):
                job.waits = False
                yield
        finally:
            job.waits = False

    def _leave(self) -> None:
        """Before a pause: nothing is lost if the process ends meanwhile, and nothing of ours stays on a GPU."""
        if self._run is None:
            return
        step = self._run.step
        try:
            self._run.park()
        except EraseError as error:
            self._job.note(f"at the pause after update {step}: {error}")

    def _go_on(self) -> Outcome | None:
        """None: it is to pause."""
        wish = self._wish()
        if wish == "discard":
            return self._discard()
        if self._run is None:
            self._job.say("loads the checkpoint")
            self._run = self._begin()
        else:
            self._run.go_on(self._host.device())
            self._enter_running()
        while True:
            wish = self._wish()
            if wish == "pause":
                return None
            if wish == "discard":
                return self._discard()
            if wish == "stop":
                return self._stop()
            if wish == "close":
                return self._close()
            event = next(self._run, None)
            if event is None:
                return self._done()
            self._see(event)

    def _rest(self) -> None:
        """Without the device, until something else is wished."""
        job = self._job
        with job.changed:
            if job.wish == "pause":
                job.set(state="paused", message=f"paused after update {job.history.step}; the device is free")
                self._tell()
            while job.wish == "pause":
                job.changed.wait()
            wish = job.wish
        if wish == "discard":
            self._outcome = self._discard()
        elif wish == "close":
            self._outcome = self._close()

    def _begin(self) -> Run:
        from erasure.run.run import erase, resume
        from erasure.run.task import Task

        job, device = self._job, self._host.device()
        out = Path(job.record.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        name = free_name(out.stem, self._host.lora_folder())
        if name != out.stem:
            out = out.with_name(f"{name}.safetensors")
            job.set(message=job.message, out=str(out))
            job.note(f"the LoRA will be called {name}: meanwhile there is another file of the first name")
        if job.folder.holds_run:
            self._fresh = False
            return resume(job.folder, device=device, out=out)
        return erase(Task(Path(job.record.checkpoint), out, job.folder, job.config, device))

    # --- what is wished, what happened

    def _wish(self) -> Wish:
        if not self._job.wish and self._interrupted():
            with self._job.changed:
                self._job.wish = self._job.wish or "stop"
        return self._job.wish

    def _interrupted(self) -> bool:
        try:
            return self._host.interrupted()
        except Exception:
            logger.exception("the host could not say whether it was interrupted")
            return False

    def _see(self, event: Event) -> None:
        job = self._job
        if isinstance(event, Opened):
            self._speed = asdict(event)
            job.say("draws the pictures before")
            return
        if isinstance(event, Drawing):
            when = f"after {job.history.step} updates" if job.history.step else "before"
            job.say(f"draws the pictures {when}: {event.share:.0%}")
            self._report()
            return
        job.see(event_to_dict(event))
        if isinstance(event, Step):
            self._enter_running()
            last = event.step == event.steps
            job.say("saves and checks the LoRA" if last else f"update {event.step} of {event.steps}")
        elif isinstance(event, Preview):
            self._picture = RunPreview(job.folder, event.step)
        elif isinstance(event, Saved) and event.is_lora:
            self._result = result_of(event)
            self._ended = event.final
        self._report()

    def _enter_running(self) -> None:
        """Unless the user has wished something in between, which is shown already."""
        with self._job.changed:
            if self._job.state == "preparing" and not self._job.wish:
                self._job.set(state="running", message=self._job.message)

    def _report(self) -> None:
        """To the host's own progress bar; a run does not end because that fails."""
        job = self._job
        try:
            picture, self._picture = self._picture, None
            shown: Image.Image | None = picture.sheet() if picture is not None else None
            self._host.show_progress(job.history.step, job.history.steps, job.message, shown)
        except Exception:
            logger.exception("the host could not show the progress")

    # --- ends

    def _done(self) -> Outcome:
        if self._result is None:
            return Outcome("failed", {"problem": "the run ended without a LoRA file"})
        return Outcome("done", {"result": self._result, "speed": self._measured()})

    def _stop(self) -> Outcome:
        self._job.set(state="stopping", message="saves what there is")
        self._report()
        for event in self._run.stop() if self._run is not None else ():
            self._see(event)
        if self._ended:
            return self._done()
        return Outcome("stopped", {"speed": self._measured(), **({"result": self._result} if self._result else {})})

    def _discard(self) -> Outcome:
        if self._run is not None:
            self._run.give_up()
        # It may have been discarded after its LoRA was put in its place.
        return Outcome(None, {"result": self._result})

    def _close(self) -> Outcome:
        self._keep_state()
        return Outcome("interrupted")

    def _failure(self, error: BaseException) -> Outcome:
        self._keep_state()
        return Outcome("failed", {"problem": describe(error), "log": traceback_of(error)})

    def _keep_state(self) -> None:
        """End the run where it is, with its state saved; a run that failed has done so itself."""
        if self._run is None:
            return
        try:
            self._run.save()
        except Exception as error:
            logger.warning("when the run was ended: %s", describe(error))
            traceback_of(error)
        self._run.give_up()

    def _let_go(self) -> None:
        """Free the models."""
        self._run = None
        free_memory()

    def _measured(self) -> dict[str, Any] | None:
        """What the run took, for estimates of later ones."""
        history = self._job.history
        if not self._fresh or not history.rows or not self._speed:
            return self._job.record.speed
        apart = max(0.0, self._busy + time.monotonic() - self._began - history.seconds)
        return {**self._speed, "rows": history.rows, "seconds": history.seconds, "apart": apart}
