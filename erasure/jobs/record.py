"""A job on disk: its run folder, with ``job.json`` for what the run itself does not know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from erasure.config.settings import EraseConfig
from erasure.config.settle import asked_of
from erasure.config.values import config_from_record, settle_values
from erasure.errors import ConfigError
from erasure.jobs.history import History
from erasure.jobs.job import ACTIVE, JobState, Result, Snapshot
from erasure.jobs.speed import Speed, speed_of
from erasure.run.folder import RunFolder


@dataclass(frozen=True)
class Record:
    """What ``job.json`` holds.

    ``config`` are all settings with the values that are used, ``asked`` those that were asked for (None in records of
    older versions). ``problem`` says why a job failed; ``log`` is the traceback, if the failure was unexpected.
    """

    name: str
    checkpoint: str
    out: str
    config: dict[str, Any]
    created: float
    state: JobState = "queued"
    problem: str = ""
    log: str = ""
    notes: tuple[str, ...] = ()
    result: Result | None = None
    speed: Speed | None = None  # for estimates of later runs
    asked: dict[str, Any] | None = None


def write_record(folder: RunFolder, record: Record) -> None:
    """Raises: RunError if the folder cannot be written."""
    folder.write_job(asdict(record))


def read_record(folder: RunFolder) -> Record:
    """Read ``job.json``; a value that is missing or of the wrong kind gets its default.

    Raises: RunError if the file cannot be read.
    """
    values = folder.read_job()
    text = {key: str(values.get(key, "")) for key in ("name", "checkpoint", "out", "problem", "log")}
    state: Any = values.get("state")
    return Record(
        **{**text, "name": text["name"] or folder.path.name},
        config=_dict(values.get("config")) or {},
        created=_number(values.get("created"), folder.path.stat().st_mtime),
        state=state if state in get_args(JobState) else "failed",
        notes=tuple(map(str, _list(values.get("notes")))),
        result=_result(values.get("result")),
        speed=speed_of(values.get("speed")),
        asked=_dict(values.get("asked")),
    )


def settled(record: Record) -> Record:
    """Return the record of a job whose process has ended: if it was active, it was interrupted."""
    return replace(record, state="interrupted") if record.state in ACTIVE else record


def history_from_disk(folder: RunFolder, record: Record) -> History:
    """Return the history that the run's log adds up to. Lines that make no sense are left out."""
    history = _history(record)
    for event in folder.events():
        with suppress(KeyError, TypeError, ValueError):
            history.see(event)
    history.previews |= folder.previews()
    return history


def config_of(record: Record) -> EraseConfig:
    """Return the job's config. Raises: ConfigError if this version cannot use it; the job can still be looked at."""
    return config_from_record(record.config, record.asked)


def _history(record: Record) -> History:
    try:
        return History.of(config_of(record))
    except ConfigError:
        # Of another version, or edited by hand: use what can be read.
        used = settle_values(record.config).values
        return History(batch=used["batch"], templates=used["templates"], updates=used["steps"])


def asked_in(record: Record) -> dict[str, Any]:
    """Return the settings that were asked for, as far as the record tells."""
    try:
        return asked_of(config_of(record))
    except ConfigError:
        return dict(record.config if record.asked is None else record.asked)


def snapshot_of(id: str, record: Record, history: History, message: str, version: int) -> Snapshot:
    """Return what a page shows of a job. ``message``: "" for one that its state gives."""
    return Snapshot(
        id=id,
        name=record.name,
        state=record.state,
        message=message or _message(record, history),
        problem=record.problem,
        version=version,
        checkpoint=Path(record.checkpoint).name,
        config=record.config,
        asked=asked_in(record),
        created=record.created,
        step=history.step,
        steps=history.steps,
        seconds=history.seconds,
        seconds_left=history.seconds_left if record.state in ACTIVE else None,
        rows=history.rows,
        series=history.series,
        picks=history.picks,
        current_pick=history.current_pick,
        learning_rate=history.learning_rate,
        previews=tuple(sorted(history.previews)),
        plan=history.plan,
        notes=tuple(dict.fromkeys((*history.notes, *record.notes))),
        result=record.result,
    )


def _message(record: Record, history: History) -> str:
    after = f"after update {history.step} of {history.steps}" if history.step else "before the first update"
    where = f"; {record.result.name} was saved" if record.result else ""
    return {
        "done": f"done: {record.result.name if record.result else record.name} is in the Lora folder",
        "stopped": f"stopped {after}{where}",
        "failed": f"failed {after}",
        "interrupted": f"interrupted {after}; it can be resumed",
    }.get(record.state, "")


# --- values from a file that anyone may have edited


def _dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any, otherwise: float) -> float:
    sound = isinstance(value, (int, float)) and math.isfinite(value)
    return float(value) if sound else otherwise


def _result(value: Any) -> Result | None:
    if not isinstance(value, Mapping):
        return None
    change = value.get("change")
    size = int(_number(value.get("size"), 0))
    return Result(
        name=str(value.get("name", "")),
        path=str(value.get("path", "")),
        size=size,
        change=None if change is None else _number(change, 0.0),
    )
