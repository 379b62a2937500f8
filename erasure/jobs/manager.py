"""All jobs of a host: a queue with one worker, what users may do with a job, and the jobs of earlier processes."""

from __future__ import annotations

import atexit
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from erasure.config.settings import EraseConfig
from erasure.config.settle import asked_of, with_changes
from erasure.errors import ConfigError, JobConflict
from erasure.host.base import Host
from erasure.host.data_folder import DataFolder
from erasure.jobs.baking import BakeRequest, BakeSnapshot, Baking
from erasure.jobs.combining import CombineRequest, CombineSnapshot, Combining, refining_job
from erasure.jobs.ending import remove_files, remove_folder, write_job_card
from erasure.jobs.gate import Gate
from erasure.jobs.job import FINISHED, JobRequest, JobState, Snapshot
from erasure.jobs.live import LiveJob, logger
from erasure.jobs.measuring import MeasureRequest, MeasureSnapshot, Measuring
from erasure.jobs.names import free_name
from erasure.jobs.problems import describe
from erasure.jobs.readiness import readiness
from erasure.jobs.record import new_record, write_record
from erasure.jobs.searching import Searching, SearchSnapshot
from erasure.jobs.sharing import Sharing
from erasure.jobs.table import JobTable
from erasure.jobs.uploading import Uploading
from erasure.jobs.worker import Outcome, Worker
from erasure.run.divergence import remedy
from erasure.run.preview import RunPreview

# Seconds that a run gets to finish its update and save its state when the process ends.
PATIENCE = 30.0
MORE = 10  # updates at least, to train on


class JobManager:
    """The jobs of one host. Every method may be called from any thread at any time.

    One worker thread runs one job after the other. A paused job keeps its turn: later jobs wait until it is resumed,
    stopped or discarded.
    """

    def __init__(self, host: Host, *, start: bool = True):
        """Jobs that earlier processes left in the host's data folder are taken over; active ones are "interrupted"."""
        self._host = host
        self._changed = Condition()
        self._table = JobTable(DataFolder(host.data_folder()).runs, self._changed)
        self._gate = Gate(self._changed, self._table.name)
        self._searching = Searching(host, self._gate, self._changed)
        self._measuring = Measuring(host, self._gate, self._changed)
        self._baking = Baking(host, self._gate, self._changed)
        self._combining = Combining(host, self._gate, self._changed)
        self.sharing = Sharing(DataFolder(host.data_folder()).shared)
        self.uploading = Uploading(host, self.sharing, self._changed)
        self._errands = (self._measuring, self._searching, self._baking, self._combining, self.uploading)
        self._closed = False
        self._thread: Thread | None = None
        self._table.adopt()
        if start:
            self.start()

    def start(self) -> None:
        """Begin to work on the queue."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._work, name="erasure jobs", daemon=True)
                self._thread.start()
                # The thread is a daemon, so that the program can always end; this lets it save first.
                atexit.register(self.close)

    def close(self) -> None:
        """End the worker. A run saves its state after this update, and can be resumed later; all else is lost."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            if self._table.current is not None and self._table.current.wish != "discard":
                self._table.current.wish = "close"
            for errand in self._errands:
                if errand.on:
                    errand.cancel()
            self._changed.notify_all()
            if not self._at_rest():
                logger.warning("what runs is saved before the program ends; this takes at most %.0f seconds", PATIENCE)
            self._changed.wait_for(self._at_rest, PATIENCE)
            for job in self._table.queue:
                job.claim.free()

    def _at_rest(self) -> bool:
        """Whether the program may end. A job that waits for the device has nothing to save, and may wait for long."""
        job = self._table.current
        return (job is None or job.waits) and not any(errand.works for errand in self._errands)

    # --- what there is

    def snapshots(self) -> list[Snapshot]:
        """Return all jobs, live and past, newest first."""
        with self._changed:
            jobs = list(self._table.jobs.values())
        return sorted((job.snapshot() for job in jobs), key=lambda job: (job.created, job.id), reverse=True)

    def snapshot(self, id: str) -> Snapshot:
        """Return the job as it is now. Raises: JobNotFound."""
        return self._table.job(id).snapshot()

    def wait(self, id: str, states: Collection[JobState] = FINISHED, timeout: float | None = None) -> Snapshot:
        """Block until the job is in one of ``states``, and return it.

        Raises: JobNotFound, also if it is discarded in the meantime; JobConflict after ``timeout`` seconds.
        """
        with self._changed:
            job = self._table.job(id)
            if not self._changed.wait_for(lambda: job.state in states or id not in self._table.jobs, timeout):
                raise JobConflict(f"{job.record.name} is still {job.state} after {timeout:g} seconds; wait longer")
            return self._table.job(id).snapshot()

    def follow(self, id: str, version: int, timeout: float) -> Snapshot:
        """Block until the job's version is no longer ``version``, or for ``timeout`` seconds, and return the job.

        Raises: JobNotFound.
        """
        with self._changed:
            job = self._table.job(id)
            self._changed.wait_for(lambda: job.version != version or id not in self._table.jobs, timeout)
            return self._table.job(id).snapshot()

    def preview(self, id: str, step: int | None) -> RunPreview:
        """Return the pictures before and after ``step`` updates, or only those before. Raises: JobNotFound."""
        return self._table.job(id).preview(step)

    def lora_path(self, id: str) -> Path:
        """Return the LoRA file, or that in the run folder if it could not be put in its place. Raises: JobNotFound."""
        return self._table.job(id).lora_path()

    def run_of(self, lora: Path) -> Path | None:
        """Return the folder of the run that made a LoRA file, None if no run here did; a finished one has pictures."""
        return self._table.run_of(lora)

    # --- what can be done

    def submit(self, request: JobRequest) -> str:
        """Queue a job, and return its id. Raises: ConfigError with all problems if it cannot start; RunError."""
        problems = readiness(self._host, request.checkpoint, request.name, request.config)
        if problems:
            raise ConfigError(problems)
        out = self._host.lora_folder() / f"{request.name}.safetensors"
        with self._changed:
            self._check_open()
            if any(Path(job.record.out).stem.casefold() == request.name.casefold() for job in self._table.active()):
                raise ConfigError([f"another job is making the LoRA {request.name!r}; choose another name"])
            job = self._table.add(new_record(request, out), request.config)
            self._table.enqueue(job)
        return job.id

    def pause(self, id: str) -> None:
        """Give the device back after this update. Raises: JobNotFound, JobConflict."""
        with self._changed:
            self._check_open()
            if self._table.job(id).state in ("pausing", "paused"):
                return
            job = self._table.allowed(id, "pause")
            job.wish = "pause"
            job.enter("pausing", "will pause after this update")

    def resume(self, id: str) -> None:
        """Go on with a paused job, or queue one that ended early. Raises: JobNotFound, JobConflict, RunError."""
        with self._changed:
            self._check_open()
            if self._table.job(id).state in ("queued", "preparing", "running"):
                return
            job = self._table.allowed(id, "resume")
            job.wish = ""
            if job.state == "paused":
                job.enter("preparing", "waits for the device")
                self._table.tell_waiting()
                return
            self._table.take(job)
            record = replace(job.record, state="queued", problem="", log="")
            write_record(job.folder, record)
            job.amend(record)
            self._table.enqueue(job)

    def remedy(self, id: str) -> dict[str, Any]:
        """Return the settings to change of a job whose training diverged, {} for others. Raises: JobNotFound;
        ConfigError if this version cannot use its settings."""
        job = self._table.job(id)
        return remedy(job.config) if job.record.diverged else {}

    def train_on(self, id: str) -> None:
        """Queue a job that is done, but whose verdict leaves something, for more updates and another LoRA.

        It goes on from its state; half as many updates as it was planned with are added, at least MORE. The LoRA that
        it has stays.
        Raises: JobNotFound, JobConflict, RunError; ConfigError if this version cannot use its settings.
        """
        with self._changed:
            self._check_open()
            job = self._table.allowed(id, "train-on")
            old = job.config
            # Always more than before, even after an early end: by that the run knows that what its looks found was not
            # enough. It ends early again once they find all gone.
            config = with_changes(old, steps=old.updates + max(MORE, -(-old.updates // 2)))
            self._table.take(job)
            name = free_name(job.record.name, self._host.lora_folder(), self._coming())
            record = replace(
                job.record,
                state="queued",
                out=str(self._host.lora_folder() / f"{name}.safetensors"),
                config=config.to_dict(),
                asked=asked_of(config),
                train_to=config.updates,
            )
            write_record(job.folder, record)
            job.retrain(record, config)
            self._table.enqueue(job)

    def stop(self, id: str) -> None:
        """End the training after this update, and save a LoRA of it. Raises: JobNotFound, JobConflict."""
        with self._changed:
            self._check_open()
            if self._table.job(id).state in ("stopping", "stopped"):
                return
            job = self._table.allowed(id, "stop")
            job.wish = "stop"
            job.enter("stopping", "will stop after this update")

    def discard(self, id: str) -> None:
        """End an active job and keep nothing of it. Raises: JobNotFound, JobConflict."""
        with self._changed:
            job = self._table.allowed(id, "discard")
            job.wish = "discard"
            self._table.forget(job)
            if job in self._table.queue:
                self._table.queue.remove(job)
                job.claim.free()
                remove_folder(job.folder)
            self._table.tell_waiting()

    def delete(self, id: str) -> None:
        """Delete the run of an ended job; its LoRA stays in the Lora folder. Raises: JobNotFound, JobConflict."""
        with self._changed:
            job = self._table.allowed(id, "delete")
            self._table.take(job)
            self._table.forget(job)
        job.claim.free()
        remove_folder(job.folder)

    def concepts(self, checkpoint: Path, config: EraseConfig) -> dict[str, Any]:
        """Return the concept space of ``config`` as ``ConceptSpace.to_dict()``, looked for unless it is known.

        Waits for it, which may take minutes. Raises: JobConflict while a job or a measurement uses the device, or if
        it is cancelled; EraseError.
        """
        self._check_open()
        return self._searching.find(checkpoint, config)

    def known_concepts(self, checkpoint: Path, config: EraseConfig) -> dict[str, Any] | None:
        """Return the same if it was found before, else None. Raises: RunError if a file is not there."""
        return self._searching.known(checkpoint, config)

    def search(self, checkpoint: Path, config: EraseConfig) -> None:
        """Begin to look for the same, and return at once; nothing is done if it is known or looked for already.

        Raises: JobConflict while a job, a measurement or another search uses the device; RunError.
        """
        self._check_open()
        self._searching.start(checkpoint, config)

    def search_snapshot(self) -> SearchSnapshot | None:
        """Return the search that is on, or else the last one of this process; None if there was none."""
        return self._searching.snapshot()

    def cancel_search(self) -> None:
        """End the search that is on. Raises: JobConflict if there is none."""
        self._searching.cancel()

    def measure(self, request: MeasureRequest) -> MeasureSnapshot:
        """Begin to measure what a LoRA file does to a checkpoint, and return at once; takes the device for minutes.

        Raises: JobConflict while a job or another measurement uses the device; EraseError for what cannot be measured.
        """
        self._check_open()
        return self._measuring.start(request)

    def measurement(self) -> MeasureSnapshot | None:
        """Return the measurement that is on, or else the last one of this process; None if there was none."""
        return self._measuring.snapshot()

    def cancel_measurement(self) -> None:
        """End the measurement that is on. Raises: JobConflict if there is none."""
        self._measuring.cancel()

    def bake(self, request: BakeRequest) -> BakeSnapshot:
        """Begin to write a checkpoint with LoRAs in its weights, and return at once; it takes seconds to minutes.

        Raises: JobConflict while a job or an errand uses the device; EraseError for what cannot be baked.
        """
        self._check_open()
        return self._baking.start(request)

    def bake_snapshot(self) -> BakeSnapshot | None:
        """Return the bake that is on, or else the last one of this process; None if there was none."""
        return self._baking.snapshot()

    def cancel_bake(self) -> None:
        """End the bake that is on; nothing of it is left. Raises: JobConflict if there is none."""
        self._baking.cancel()

    def combine(self, request: CombineRequest) -> CombineSnapshot:
        """Begin to make one LoRA of several, and return at once; it takes seconds.

        Raises: JobConflict while a job or an errand uses the device; EraseError for what cannot be combined.
        """
        self._check_open()
        return self._combining.start(request, self._coming())

    def refine(self, request: CombineRequest, checkpoint: Path, rows: Any = None) -> str:
        """Queue a job that trains on from several LoRAs, all together, and return its id.

        ``rows``: of the U-Net that it may take, None for the usual number. Raises: EraseError.
        """
        return self.submit(refining_job(self._host, request, checkpoint, rows, self._coming()))

    def combine_snapshot(self) -> CombineSnapshot | None:
        """Return the combination that is on, or else the last one of this process; None if there was none."""
        return self._combining.snapshot()

    def combine_pictures(self) -> bytes | None:
        """Return the pictures of the last combination as a PNG, None if there are none."""
        return self._combining.pictures

    def cancel_combine(self) -> None:
        """End the combination that is on; nothing of it is left. Raises: JobConflict if there is none."""
        self._combining.cancel()

    def _coming(self) -> list[str]:
        """Return the names of the LoRAs that jobs will make."""
        with self._changed:
            return [Path(job.record.out).stem for job in self._table.active()]

    def _check_open(self) -> None:
        if self._closed:
            raise JobConflict("the program is ending; start it again")

    # --- the worker thread

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._table.queue or self._closed)
                if self._closed:
                    return
                job = self._table.begin_next()
            job.save()
            try:
                self._finish(job, Worker(job, self._host, self._gate, self._table.tell_waiting).run())
            except BaseException as error:
                # Not expected to happen; but one job must never bring down the others.
                logger.exception("the end of %s", job.id)
                self._finish(job, Outcome("failed", problem=describe(error)))

    def _finish(self, job: LiveJob, outcome: Outcome) -> None:
        """Keep what came of the job in its record, or delete it all if the job was discarded."""
        result = outcome.result
        written = write_job_card(job, result) if result and outcome.state is not None else []
        with self._changed:
            # It may be discarded until now, even though its LoRA is finished.
            if outcome.state is None or job.wish == "discard":
                remove_files([*written, *([Path(result.path)] if result else [])])
                job.claim.free()
                remove_folder(job.folder)
            else:
                old = job.record
                job.wish = ""
                job.amend(replace(old, problem=outcome.problem, log=outcome.log, diverged=outcome.diverged,
                                  result=result or old.result, speed=outcome.speed or old.speed))  # fmt: skip
                job.enter(outcome.state)
                job.save()
                job.claim.free()
            self._table.current = None
            self._table.tell_waiting()


@cache
def manager_of(host: Host) -> JobManager:
    """Return the host's manager, always the same one.

    A run must go on while the user interface is built anew: "Reload UI" of a web UI runs the scripts of its extensions
    again, but keeps the modules that they imported.
    """
    return JobManager(host)
