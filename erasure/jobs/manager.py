"""All jobs of a host: a queue with one worker, what users may do with a job, and the jobs of earlier processes."""

from __future__ import annotations

import atexit
import time
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from erasure.config.settings import EraseConfig
from erasure.config.settle import asked_of, notes_of
from erasure.errors import ConfigError, EraseError, JobConflict, JobNotFound, RunError
from erasure.host.base import Host
from erasure.host.data_folder import DataFolder
from erasure.jobs.concept_cache import ConceptCache, cache_key, measure_concepts
from erasure.jobs.ending import remove_files, remove_folder, write_job_card
from erasure.jobs.gate import CONCEPTS, Gate
from erasure.jobs.job import FINISHED, JobRequest, JobState, Result, Snapshot
from erasure.jobs.live import LiveJob, logger
from erasure.jobs.problems import describe
from erasure.jobs.readiness import readiness
from erasure.jobs.record import Record, write_record
from erasure.jobs.table import JobTable
from erasure.jobs.worker import Outcome, Worker
from erasure.run.preview import RunPreview

# When the process ends, a run gets so many seconds to finish its update and save its state.
PATIENCE = 30.0


class JobManager:
    """Jobs of one host. Every method may be called from any thread at any moment.

    One worker thread runs one job after the other. A paused job keeps its place: later jobs wait until it is resumed,
    stopped or discarded.
    """

    def __init__(self, host: Host, *, start: bool = True):
        """Takes up what earlier processes left in the host's data folder: what was active there is "interrupted"."""
        self._host = host
        self._changed = Condition()
        self._table = JobTable(DataFolder(host.data_folder()).runs, self._changed)
        self._gate = Gate(self._changed, self._table.name)
        self._concepts = ConceptCache()
        self._closed = False
        self._thread: Thread | None = None
        self._table.adopt()
        if start:
            self.start()

    def start(self) -> None:
        """Begin with the queue."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._work, name="erasure jobs", daemon=True)
                self._thread.start()
                # A daemon, so that a program can always end; but it is asked to save first.
                atexit.register(self.close)

    def close(self) -> None:
        """End the worker: a run saves its state after the update at hand and can be resumed later."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            if self._table.current is not None and self._table.current.wish != "discard":
                self._table.current.wish = "close"
            self._changed.notify_all()
            # One that waits for the device has nothing to save, and may wait for long.
            self._changed.wait_for(lambda: self._table.current is None or self._table.current.waits, PATIENCE)
            for job in self._table.queue:
                job.claim.free()

    # --- what there is

    def snapshots(self) -> list[Snapshot]:
        """All jobs, live and past, newest first."""
        with self._changed:
            jobs = list(self._table.jobs.values())
        return sorted((job.snapshot() for job in jobs), key=lambda job: (job.created, job.id), reverse=True)

    def snapshot(self, id: str) -> Snapshot:
        """Raises: JobNotFound."""
        return self._table.job(id).snapshot()

    def wait(self, id: str, states: Collection[JobState] = FINISHED, timeout: float | None = None) -> Snapshot:
        """Block until the job is in one of ``states``. Raises: JobNotFound, also when it is discarded meanwhile;
        JobConflict after ``timeout`` seconds."""
        with self._changed:
            job = self._table.job(id)
            if not self._changed.wait_for(lambda: job.state in states or id not in self._table.jobs, timeout):
                raise JobConflict(f"{job.record.name} is still {job.state} after {timeout:g} seconds; wait longer")
            return self._table.job(id).snapshot()

    def follow(self, id: str, version: int, timeout: float) -> Snapshot:
        """The snapshot as soon as its version is another than ``version``, at the latest after ``timeout`` seconds.

        Raises: JobNotFound.
        """
        with self._changed:
            job = self._table.job(id)
            self._changed.wait_for(lambda: job.version != version or id not in self._table.jobs, timeout)
            return self._table.job(id).snapshot()

    def preview(self, id: str, step: int) -> RunPreview:
        """The pictures before and after ``step`` updates. Raises: JobNotFound."""
        preview = RunPreview(self._table.job(id).folder, step)
        if not preview.place.is_file():
            raise JobNotFound(f"there is no preview of update {step}; see the job's previews")
        return preview

    def lora_path(self, id: str) -> Path:
        """The LoRA file; the one in the run folder if it could not be put in its place. Raises: JobNotFound."""
        job = self._table.job(id)
        result = job.record.result
        places = [Path(result.path)] if result else []
        for path in (*places, job.folder.lora):
            if path.is_file():
                return path
        raise JobNotFound(f"{job.record.name} has no LoRA file (yet)")

    # --- what can be done

    def submit(self, request: JobRequest) -> str:
        """Queue a job; returns its id. Raises: ConfigError with all problems, before anything is queued; RunError."""
        problems = readiness(self._host, request.checkpoint, request.name, request.config)
        if problems:
            raise ConfigError(problems)
        out = self._host.lora_folder() / f"{request.name}.safetensors"
        with self._changed:
            self._check_open()
            if any(Path(job.record.out).stem.casefold() == request.name.casefold() for job in self._table.active()):
                raise ConfigError([f"a job that makes the LoRA {request.name!r} is on its way; choose another name"])
            checkpoint = str(Path(request.checkpoint).resolve())
            config = request.config
            record = Record(
                name=request.name,
                checkpoint=checkpoint,
                out=str(out),
                config=config.to_dict(),
                asked=asked_of(config),
                created=time.time(),
                notes=notes_of(config),
            )
            job = self._table.add(record, config)
            self._table.enqueue(job)
        return job.id

    def pause(self, id: str) -> None:
        """Give the device back after the update at hand. Raises: JobNotFound, JobConflict."""
        with self._changed:
            self._check_open()
            job = self._table.allowed(id, "pause", already=("pausing", "paused"))
            if job is not None:
                job.wish = "pause"
                job.set(state="pausing", message="will pause after this update")

    def resume(self, id: str) -> None:
        """Go on with a paused job, or queue one that ended early. Raises: JobNotFound, JobConflict, RunError."""
        with self._changed:
            self._check_open()
            job = self._table.allowed(id, "resume", already=("queued", "preparing", "running"))
            if job is None:
                return
            job.wish = ""
            if job.state == "paused":
                job.set(state="preparing", message="waits for the device")
                self._table.tell_waiting()
                return
            self._table.take(job)
            write_record(job.folder, replace(job.record, state="queued", problem="", log=""))
            job.set(state="queued", problem="", log="")
            self._table.enqueue(job)

    def stop(self, id: str) -> None:
        """End the training after the update at hand and save what there is. Raises: JobNotFound, JobConflict."""
        with self._changed:
            self._check_open()
            job = self._table.allowed(id, "stop", already=("stopping", "stopped"))
            if job is not None:
                job.wish = "stop"
                job.set(state="stopping", message="will stop after this update")

    def discard(self, id: str) -> None:
        """Give up an active job: nothing of it is kept. Raises: JobNotFound, JobConflict."""
        with self._changed:
            job = self._table.allowed(id, "discard")
            assert job is not None
            job.wish = "discard"
            self._table.forget(job)
            if job in self._table.queue:
                self._table.queue.remove(job)
                job.claim.free()
                remove_folder(job.folder)
            self._table.tell_waiting()

    def delete(self, id: str) -> None:
        """Delete the run of a finished job; a LoRA in the Lora folder stays. Raises: JobNotFound, JobConflict."""
        with self._changed:
            job = self._table.allowed(id, "delete")
            assert job is not None
            self._table.take(job)
            self._table.forget(job)
        job.claim.free()
        remove_folder(job.folder)

    def concepts(self, checkpoint: Path, config: EraseConfig) -> dict[str, Any]:
        """What is near the concepts of ``config``, as ``ConceptSpace.to_dict()``; takes the device for some seconds.

        Raises: JobConflict while a job uses the device; EraseError.
        """
        key = cache_key(checkpoint, config)
        known = self._concepts.get(key)
        if known is not None:
            return known
        try:
            with self._gate.held(CONCEPTS):
                known = self._concepts.get(key)  # another page may have asked the same meanwhile
                if known is None:
                    with self._host.exclusive("concepts to protect"):
                        known = measure_concepts(checkpoint, config, self._host.device())
                    self._concepts.put(key, known)
            return known
        except EraseError:
            raise
        except Exception as error:  # of the host
            raise RunError(describe(error)) from error

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
                self._finish(job, Outcome("failed", {"problem": describe(error)}))

    def _finish(self, job: LiveJob, outcome: Outcome) -> None:
        result: Result | None = outcome.changes.get("result")
        written = write_job_card(job, result) if outcome.state in ("done", "stopped") and result else []
        with self._changed:
            # It could be discarded until now, even after its LoRA was finished.
            if outcome.state is None or job.wish == "discard":
                remove_files([*written, *([Path(result.path)] if result else [])])
                job.claim.free()
                remove_folder(job.folder)
            else:
                job.wish = ""
                job.set(state=outcome.state, **outcome.changes)
                job.save()
                job.claim.free()
            self._table.current = None
            self._table.tell_waiting()


@cache
def manager_of(host: Host) -> JobManager:
    """The host's manager, the same at every call: a run goes on while the page, or all of the user interface, is made
    anew. "Reload UI" of a web UI runs the scripts of extensions again; modules of packages stay."""
    return JobManager(host)
