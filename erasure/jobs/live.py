"""A job in memory: its record, its history and what its user wishes, all guarded by one condition variable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Condition
from typing import Literal

from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_record
from erasure.errors import ConfigError, JobNotFound, RunError
from erasure.jobs.claim import Claim
from erasure.jobs.history import History
from erasure.jobs.job import JobState, Snapshot
from erasure.jobs.record import Record, history_from_disk, history_of, snapshot_of, write_record
from erasure.model.stage import Stage
from erasure.run.events import Event, event_to_dict
from erasure.run.folder import RunFolder
from erasure.run.preview import RunPreview

Wish = Literal["", "pause", "stop", "discard", "close"]  # "close": the process ends
logger = logging.getLogger(__name__)


class LiveJob:
    """A job of this process, or one that an earlier process left.

    ``record`` and ``message`` change only through the methods; ``changed`` is notified of every change.
    """

    def __init__(
        self, folder: RunFolder, record: Record, config: EraseConfig | None, changed: Condition, versions: Iterator[int]
    ):
        """``config``: None for a job from disk, whose config and log are read when asked for.

        ``versions`` never repeats a number.
        """
        self.id = folder.path.name
        self.folder = folder
        self._config = config
        self._history = None if config is None else History.of(config)
        self.changed = changed
        self.record = record
        self.claim = Claim(folder)
        self.wish: Wish = ""
        self.waits = False  # for the device
        self.message = ""  # one line that says what the job is doing
        self.stage: Stage | None = None  # the same with how far it is, where that is known
        self._versions = versions
        self.version = next(versions)
        self._snapshot: Snapshot | None = None

    @property
    def state(self) -> JobState:
        return self.record.state

    @property
    def config(self) -> EraseConfig:
        """The config. Raises: ConfigError if this version cannot use the record's; the job can still be looked at."""
        with self.changed:
            if self._config is None:
                self._config = config_from_record(self.record.config, self.record.asked)
            return self._config

    @property
    def history(self) -> History:
        with self.changed:
            if self._history is None:
                try:
                    empty = History.of(self.config)
                except ConfigError:
                    empty = history_of(self.record)
                self._history = history_from_disk(self.folder, empty)
            return self._history

    def snapshot(self) -> Snapshot:
        """Return the job as it is now. Made once per change, from memory alone."""
        with self.changed:
            if self._snapshot is None:
                self._snapshot = snapshot_of(self.id, self.record, self.history, self.message, self.version, self.stage)
            return self._snapshot

    def enter(self, state: JobState, message: str = "") -> None:
        """Change the state, and the message with it."""
        with self.changed:
            self.message, self.stage = message, None
            self.amend(replace(self.record, state=state))

    def amend(self, record: Record) -> None:
        """Replace the record; the message stays. Hold ``changed`` from reading the old one on."""
        with self.changed:
            self.record = record
            self._touch()

    def retrain(self, record: Record, config: EraseConfig) -> None:
        """Replace record and config of a job that trains on. What its run did so far stays in the history."""
        with self.changed:
            self._config = config
            self.history.steps = config.updates
            self.amend(record)

    def say(self, said: str | Stage) -> None:
        """Change the message only, to a text or to that of a stage."""
        stage = said if isinstance(said, Stage) else None
        with self.changed:
            if (str(said), stage) != (self.message, self.stage):
                self.message, self.stage = str(said), stage
                self._touch()

    def note(self, text: str) -> None:
        """Add a note to the record."""
        with self.changed:
            self.amend(replace(self.record, notes=(*self.record.notes, text)))

    def see(self, event: Event) -> None:
        """Add an event to the history."""
        values = event_to_dict(event)
        with self.changed:
            self.history.see(values)
            self._touch()

    def save(self) -> None:
        """Write the record. A full disk must not stop the job: what matters is in the run folder already."""
        try:
            write_record(self.folder, self.record)
        except RunError as error:
            logger.warning("%s", error)
            with suppress(RunError):
                write_record(self.folder, replace(self.record, log=""))

    def preview(self, step: int | None) -> RunPreview:
        """Return the pictures before and after ``step`` updates, or only those before. Raises: JobNotFound."""
        preview = RunPreview(self.folder, step)
        if not preview.place.is_file():
            if step is None:
                raise JobNotFound("the pictures before are not drawn yet")
            raise JobNotFound(f"there is no preview after {step} updates; choose one of the job's previews")
        return preview

    def lora_path(self) -> Path:
        """Return the LoRA file, or that in the run folder if it could not be put in its place. Raises: JobNotFound."""
        result = self.record.result
        for path in (*([Path(result.path)] if result else []), self.folder.lora):
            if path.is_file():
                return path
        raise JobNotFound(f"{self.record.name} has no LoRA file yet")

    def _touch(self) -> None:
        self.version = next(self._versions)
        self._snapshot = None
        self.changed.notify_all()
