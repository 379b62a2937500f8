"""The jobs of a host: those of this process, those that earlier ones left on disk, and their order."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Condition

from erasure.config.settings import EraseConfig
from erasure.errors import JobConflict, JobNotFound, RunError
from erasure.jobs.job import ACTIVE, actions_of
from erasure.jobs.live import LiveJob, logger
from erasure.jobs.record import Record, read_record, settled, write_record
from erasure.run.folder import RunFolder, job_folders


class JobTable:
    """All jobs by id, and the queue. ``current`` is the job that the worker has taken up, paused or not.

    Hold ``changed`` while calling any method but :meth:`job`.
    """

    def __init__(self, runs: Path, changed: Condition):
        self.jobs: dict[str, LiveJob] = {}
        self.queue: list[LiveJob] = []
        self.current: LiveJob | None = None
        self._runs = runs
        self._changed = changed
        # Begins above every number that a page may have seen from an earlier process.
        self._versions: Iterator[int] = count(int(time.time() * 10))

    def adopt(self) -> None:
        """Add the jobs on disk, except those that another process is working on."""
        for folder in job_folders(self._runs):
            try:
                record = read_record(folder)
            except (RunError, OSError) as error:
                logger.warning("a run is not listed: %s", error)
                continue
            job = LiveJob(folder, settled(record), None, self._changed, self._versions)
            if record.state in ACTIVE:
                if not job.claim.take():
                    continue
                job.claim.free()
            self.jobs[job.id] = job

    def add(self, record: Record, config: EraseConfig) -> LiveJob:
        """Make a new job, on disk first. Raises: RunError."""
        began = time.strftime("%Y%m%d-%H%M%S", time.localtime(record.created))
        folder = RunFolder(self._runs / f"{began}-{secrets.token_hex(3)}")
        write_record(folder, record)
        job = LiveJob(folder, record, config, self._changed, self._versions)
        job.claim.take()
        self.jobs[job.id] = job
        return job

    def job(self, id: str) -> LiveJob:
        """Return the job with this id. Raises: JobNotFound."""
        with self._changed:
            if id not in self.jobs:
                raise JobNotFound(f"there is no job {id!r}; it may have been discarded or deleted")
            return self.jobs[id]

    def run_of(self, lora: Path) -> Path | None:
        """Return the folder of the run that made a LoRA file, None if no run here did; a finished one has pictures."""
        with self._changed:
            jobs = list(self.jobs.values())
        made = [job for job in jobs if job.record.result is not None and Path(job.record.result.path) == lora]
        return next((job.folder.path for job in made if job.folder.holds_run), None)

    def name(self, id: str) -> str:
        return self.jobs[id].record.name if id in self.jobs else "a job that is being discarded"

    def active(self) -> list[LiveJob]:
        return [job for job in self.jobs.values() if job.state in ACTIVE]

    def allowed(self, id: str, action: str) -> LiveJob:
        """Return the job with this id. Raises: JobNotFound; JobConflict if its state does not allow ``action``."""
        job = self.job(id)
        # Not of a snapshot: a job that is at work makes a new one with every update.
        actions = actions_of(job.state, job.history.verdict, job.record.config, diverged=job.record.diverged)
        if action in actions:
            return job
        if action == "resume" and job.record.diverged:
            raise JobConflict(
                f"the training of {job.record.name} diverged, and would again: begin anew with the settings that its "
                "problem names"
            )
        possible = " or ".join(actions) or "nothing, wait a moment"
        raise JobConflict(f"{job.record.name} is {job.state}: {action} is not possible now, only {possible}")

    def take(self, job: LiveJob) -> None:
        """Claim a job that has ended, so that no other process works on it. Raises: JobNotFound, JobConflict."""
        if not job.folder.path.is_dir():
            self.forget(job)
            raise JobNotFound(f"the run of {job.record.name} was deleted by another program")
        if not job.claim.take():
            raise JobConflict(f"another program is working on {job.record.name}; wait until it is done")

    def forget(self, job: LiveJob) -> None:
        """Remove the job from disk and from the table. Its record goes first: without it, the job is gone for good."""
        with suppress(OSError):
            job.folder.job.unlink(missing_ok=True)
        self.jobs.pop(job.id, None)
        self._changed.notify_all()

    def enqueue(self, job: LiveJob) -> None:
        """Put the job at the end of the queue."""
        self.queue.append(job)
        self.tell_waiting()

    def begin_next(self) -> LiveJob:
        """Take the first job off the queue."""
        job = self.current = self.queue.pop(0)
        job.enter("preparing", "waits for the device")
        self.tell_waiting()
        return job

    def tell_waiting(self) -> None:
        """Tell every queued job what it waits for."""
        for place, job in enumerate(self.queue):
            ahead = self.queue[place - 1] if place else self.current
            if ahead is None:
                job.say("waits for its turn")
            elif ahead.state == "paused":
                job.say(f"waits for {ahead.record.name}, which is paused")
            else:
                job.say(f"waits for {ahead.record.name}")
        self._changed.notify_all()
