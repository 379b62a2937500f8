"""A job on disk: its run folder, with ``job.json`` for what the run itself does not know."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from erasure.config.concept_texts import as_written
from erasure.config.settle import asked_for, asked_of, notes_of
from erasure.config.values import asked_like, settle_values
from erasure.jobs.history import History
from erasure.jobs.job import ACTIVE, JobRequest, JobState, Result, Snapshot
from erasure.jobs.speed import Speed, speed_of
from erasure.lora.parent import Parent
from erasure.model.stage import Stage
from erasure.run.folder import RunFolder


@dataclass(frozen=True)
class Record:
    """What ``job.json`` holds.

    ``config`` are all settings with the values that are used, ``asked`` those that were asked for. ``problem`` says why
    a job failed; ``log`` is the traceback, if the failure was unexpected.
    """

    name: str
    checkpoint: str
    out: str
    config: dict[str, Any]
    asked: dict[str, Any]
    created: float
    state: JobState = "queued"
    problem: str = ""
    log: str = ""
    notes: tuple[str, ...] = ()
    result: Result | None = None
    speed: Speed | None = None  # for estimates of later runs
    train_to: int = 0  # updates in all, once it trains on; 0 before that
    diverged: bool = False  # why it failed
    parents: tuple[Parent, ...] = ()  # LoRAs that training starts from


def new_record(request: JobRequest, out: Path) -> Record:
    """Return the record of a job that is to make the LoRA file ``out``."""
    config = request.config
    return Record(
        name=request.name,
        checkpoint=str(Path(request.checkpoint).absolute()),  # what a link leads to may have another name
        out=str(out),
        config=config.to_dict(),
        asked=asked_of(config),
        created=time.time(),
        notes=(*request.notes, *notes_of(config)),
        parents=request.parents,
    )


def write_record(folder: RunFolder, record: Record) -> None:
    """Raises: RunError if the folder cannot be written."""
    parents = [{**asdict(parent), "path": str(parent.path)} for parent in record.parents]
    folder.write_job({**asdict(record), "parents": parents})


def read_record(folder: RunFolder) -> Record:
    """Read ``job.json``; a value that is missing or of the wrong kind gets its default.

    Raises: RunError if the file cannot be read.
    """
    values = folder.read_job()
    text = {key: str(values.get(key, "")) for key in ("name", "checkpoint", "out", "problem", "log")}
    state: Any = values.get("state")
    config = _dict(values.get("config")) or {}
    return Record(
        **{**text, "name": text["name"] or folder.path.name},
        config=config,
        asked=_asked(values.get("asked"), config),
        created=_number(values.get("created"), folder.path.stat().st_mtime),
        state=state if state in get_args(JobState) else "failed",
        notes=tuple(map(str, _list(values.get("notes")))),
        result=_result(values.get("result")),
        speed=speed_of(values.get("speed")),
        train_to=max(0, int(_number(values.get("train_to"), 0))),
        diverged=values.get("diverged") is True,
        parents=_parents(values.get("parents")),
    )


def settled(record: Record) -> Record:
    """Return the record of a job whose process has ended: if it was active, it was interrupted."""
    return replace(record, state="interrupted") if record.state in ACTIVE else record


def history_from_disk(folder: RunFolder, history: History) -> History:
    """Add what the run's log says to ``history``, and return it. Lines that make no sense are left out."""
    for event in folder.events():
        with suppress(KeyError, TypeError, ValueError, OverflowError):
            history.see(event)
    history.drew_before = folder.drew_before
    history.previews |= folder.previews()
    return history


def history_of(record: Record) -> History:
    """Return an empty history for a record that this version cannot use, from what of it can be read."""
    used = settle_values(as_written(record.config)).values
    return History(batch=used["batch"], templates=used["templates"], updates=used["steps"])


def snapshot_of(
    id: str, record: Record, history: History, message: str, version: int, stage: Stage | None = None
) -> Snapshot:
    """Return what a page shows of a job. ``message``: "" for one that its state gives."""
    return Snapshot(
        id=id,
        name=record.name,
        state=record.state,
        message=message or _message(record, history),
        problem=record.problem,
        version=version,
        checkpoint=Path(record.checkpoint).name,
        place=record.checkpoint,
        makes=Path(record.out).stem,
        config=record.config,
        asked=record.asked,
        created=record.created,
        step=history.step,
        steps=history.steps,
        seconds=history.seconds,
        # A stage says itself how far it is; when training is over, nothing is known of what comes after.
        seconds_left=history.seconds_left if record.state in ACTIVE and stage is None else None,
        rows=history.rows,
        series=history.series,
        picks=history.picks,
        current_pick=history.current_pick,
        learning_rate=history.learning_rate,
        stage=stage,
        drew_before=history.drew_before,
        previews=tuple(sorted(history.previews)),
        plan=history.plan,
        notes=tuple(dict.fromkeys((*history.notes, *record.notes))),
        result=record.result,
        verdict=history.verdict,
        diverged=record.diverged and record.state == "failed",
    )


def _message(record: Record, history: History) -> str:
    after = f"after update {history.step} of {history.steps}" if history.step else "before the first update"
    where = f"; {record.result.name} was saved" if record.result else ""
    left = "; not all is gone" if history.verdict is not None and history.verdict.left else ""
    return {
        "done": f"done: {record.result.name if record.result else record.name} is in the Lora folder{left}",
        "stopped": f"stopped {after}{where}",
        "failed": f"failed {after}",
        "interrupted": f"interrupted {after}; it can be resumed",
    }.get(record.state, "")


# --- values from a file that anyone may have edited


def _dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _asked(value: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Version 0.1.0 did not keep what was asked for: then what it must have been at least."""
    asked = _dict(value)
    if asked is not None:
        return asked_like(asked, config)
    try:
        return asked_for(config)
    except (TypeError, ValueError, OverflowError):  # a method that is no text, a rank that is no number
        return config


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any, otherwise: float) -> float:
    sound = isinstance(value, (int, float)) and math.isfinite(value)
    return float(value) if sound else otherwise


def _parents(value: Any) -> tuple[Parent, ...]:
    rows = [each for each in _list(value) if isinstance(each, dict) and each.get("path")]
    return tuple(
        Parent(Path(str(row["path"])), _number(row.get("weight"), 1.0), tuple(map(str, _list(row.get("erases")))))
        for row in rows
    )


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
