"""One erasure from checkpoint to LoRA file, as a generator of events."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, EraseError, IneffectiveLora, OutOfMemory, RunError
from erasure.lora.adapter import lora_state
from erasure.lora.file import write_lora
from erasure.lora.metadata import lora_metadata
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint, sha256, short_hash
from erasure.model.denoiser import DTYPES
from erasure.run.cover import cover_picture, is_unsafe
from erasure.run.events import Drawing, Event, Opened, Planned, Saved
from erasure.run.folder import RunFolder
from erasure.run.output import check_lora, check_output, place_lora, stopped_name
from erasure.run.pictures import RunPictures, open_run_pictures
from erasure.run.state import load_state, save_state
from erasure.training.events import Note
from erasure.training.session import Session, open_session

# Settings that a resumed run may change: they say how to train, not what.
ADJUSTABLE = (
    "learning_rate",
    "preserve_weight",
    "clip",
    "precision",
    "gradient_checkpointing",
    "save_every",
    "preview_every",
)


@dataclass(frozen=True)
class Task:
    """What to erase, from which checkpoint, and where everything goes."""

    checkpoint: Path
    out: Path
    folder: RunFolder
    config: EraseConfig
    device: str = "cpu"
    overwrite: bool = False
    prompts: int | None = None  # how many of the prompts of the previews are drawn; None: all


def erase(task: Task) -> Generator[Event, None, None]:
    """Run a task. Every event is in the run folder's log before it is yielded.

    Close the generator to stop: a state to resume from and, once an update was made, a LoRA file with the number of
    updates in its name are saved on the way out. Throw a TrainingError into it to save the state alone, or an exception
    of your own to give the run up: nothing more is saved. Raises: EraseError of every kind, with the last good state
    kept.
    """
    check_output(task.out, overwrite=task.overwrite)
    checkpoint = inspect_checkpoint(task.checkpoint)
    about = {
        "checkpoint": str(checkpoint.path.resolve()),
        "sha256": sha256(checkpoint.path),
        "short_hash": short_hash(checkpoint.path),
        "out": str(task.out.resolve()),
        "started": datetime.now(timezone.utc).timestamp(),
    }
    task.folder.create(about, task.config)
    yield from _logged(task.folder, _work(task, checkpoint, resume=False))


def resume(
    folder: RunFolder,
    *,
    device: str = "cpu",
    out: Path | None = None,
    overwrite: bool = False,
    changes: Mapping[str, Any] | None = None,
    prompts: int | None = None,
) -> Generator[Event, None, None]:
    """Go on with an interrupted run: without ``changes``, to the same weights as an uninterrupted one.

    ``changes`` may hold the settings of ``ADJUSTABLE``, for a run that diverged or ran out of memory. Raises:
    RunError if there is nothing to resume, or the checkpoint is not the same file any more; ConfigError.
    """
    refused = sorted(set(changes or {}) - set(ADJUSTABLE))
    if refused:
        raise ConfigError([f"{name}: a resumed run cannot change it, only {', '.join(ADJUSTABLE)}" for name in refused])
    about, config = folder.read()
    config = config_from_dict({**config.to_dict(), **(changes or {})})
    task = Task(Path(about["checkpoint"]), out or Path(about["out"]), folder, config, device, overwrite, prompts)
    check_output(task.out, overwrite=overwrite)
    checkpoint = inspect_checkpoint(task.checkpoint)
    if sha256(checkpoint.path) != about["sha256"]:
        raise RunError(
            f"{checkpoint.path.name} is not the checkpoint that this run began with (its sha256 differs); "
            "put the old file back, or start a new run"
        )
    yield from _logged(folder, _work(task, checkpoint, resume=True))


def _logged(folder: RunFolder, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    try:
        with closing(events):
            for event in events:
                try:
                    if not isinstance(event, (Opened, Drawing)):
                        folder.log(event)
                    yield event
                except GeneratorExit:
                    raise
                except BaseException as error:
                    events.throw(error)  # the run decides what it saves; else it would be closed, as if stopped
    except torch.cuda.OutOfMemoryError as error:
        # In an update the trainer says so itself; this is for loading, measuring and pictures.
        raise OutOfMemory(
            "the device ran out of memory outside of an update; close other programs that use it, or use precision "
            "bf16 or fp16, and start or resume the run again"
        ) from error


def _work(task: Task, checkpoint: CheckpointInfo, *, resume: bool) -> Generator[Event, None, None]:
    config, folder = task.config, task.folder
    session = open_session(checkpoint, config, task.device, folder.space() if resume else None)
    folder.save_space(session.space)
    yield Opened(session)
    trainer = session.trainer
    if resume and folder.state.exists():
        trainer.load(*load_state(folder.state))
        yield Note(f"resumed after update {trainer.step} of {config.updates}")
    for note in session.space.notes:
        yield Note(note)
    yield Planned(session.plan.to_dict())

    pictures = yield from open_run_pictures(session, folder, config, task.prompts)
    saved = 0
    try:
        for step in trainer:
            yield step
            if isinstance(step, Note):
                continue
            if config.save_every and step.step % config.save_every == 0 and step.step < config.updates:
                saved = _save(session, folder)
                yield Saved(step.step, folder.state)
            if config.preview_every and step.step % config.preview_every == 0 and step.step < config.updates:
                yield (yield from pictures.steps())
    except GeneratorExit:
        _save_stopped(session, task, checkpoint, pictures)
        raise
    except (EraseError, OSError, MemoryError, RuntimeError):
        if trainer.step > saved:
            with suppress(RunError, MemoryError, RuntimeError):  # what went wrong first says more
                _save(session, folder)
        raise
    _save(session, folder)
    preview = pictures.preview()
    yield preview
    change = _finish(session, task, checkpoint, pictures, preview.path)
    yield Saved(trainer.step, task.out, final=True, change=change)


def _save(session: Session, folder: RunFolder) -> int:
    save_state(folder.state, session.trainer.tensors(), session.trainer.meta())
    return session.trainer.step


def _save_stopped(session: Session, task: Task, checkpoint: CheckpointInfo, pictures: RunPictures) -> None:
    """The state first: what comes after it may fail without losing anything."""
    _save(session, task.folder)
    if session.trainer.step == 0:
        return
    with suppress(IneffectiveLora):  # a run stopped after very few updates has nothing to show yet
        preview = pictures.preview()
        out = stopped_name(task.out, session.trainer.step)
        change = _finish(session, task, checkpoint, pictures, preview.path, out=out)
        task.folder.log(Saved(session.trainer.step, out, change=change))


def _finish(
    session: Session,
    task: Task,
    checkpoint: CheckpointInfo,
    pictures: RunPictures,
    preview: Path,
    out: Path | None = None,
) -> float:
    """Write the file in the run folder, read it back, see that it works, and only then put it in its place.

    Returns the change that :func:`check_lora` saw.
    """
    out, config = out or task.out, task.config
    # The checkpoint's hashes from then: its file may have been moved or replaced since it was loaded.
    about = task.folder.read()[0]
    started = about.get("started")
    metadata = lora_metadata(
        name=out.stem,
        family=checkpoint.family,
        config=config.to_dict(),
        resolution=session.model.pixels,
        base_name=checkpoint.path.name,
        base_sha256=about["sha256"],
        base_short_hash=about.get("short_hash") or short_hash(checkpoint.path),
        cover=cover_picture(Image.open(preview), after_only=is_unsafe([*config.erase, *config.synonym])),
        steps=session.trainer.step,
        planned_steps=config.updates,
        started=None if started is None else datetime.fromtimestamp(started, timezone.utc),
        finished=datetime.now(timezone.utc),
    )
    write_lora(
        task.folder.lora,
        lora_state(session.model.unet),
        family=checkpoint.family,
        alpha=config.alpha,
        metadata=metadata,
        dtype=DTYPES[config.save_precision],
        overwrite=True,
    )
    change = check_lora(session, task.folder.lora, pictures.before[0])
    place_lora(task.folder.lora, out, overwrite=task.overwrite)
    return change
