"""One erasure from checkpoint to LoRA file, as a generator of events."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from erasure.config import EraseConfig, config_from_dict
from erasure.core.checkpoint import CheckpointInfo, inspect_checkpoint, sha256, short_hash
from erasure.core.denoiser import DTYPES
from erasure.core.events import Event, Note, Opened, Planned, Preview, Saved
from erasure.core.lora import lora_state, remove_lora
from erasure.core.pictures import difference, draw_pictures, picture_grid
from erasure.core.session import Session, open_session
from erasure.core.state import load_state, save_state
from erasure.errors import ConfigError, EraseError, IneffectiveLora, OutOfMemory, OutputExists, RunError
from erasure.files.lora_file import inject_lora_file, match_lora, read_lora, write_lora
from erasure.files.metadata import lora_metadata
from erasure.run_folder import RunFolder

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
# A picture that the LoRA moves by less than this, of 255 levels, looks the same.
SMALLEST_CHANGE = 1.0
PREVIEW_SEEDS = (1, 2)


@dataclass(frozen=True)
class Task:
    """What to erase, from which checkpoint, and where everything goes."""

    checkpoint: Path
    out: Path
    folder: RunFolder
    config: EraseConfig
    device: str = "cpu"
    overwrite: bool = False


def check_output(out: Path, *, overwrite: bool) -> None:
    """Raises: OutputExists, RunError before any work is done for a file that could not be written."""
    if out.suffix != ".safetensors":
        raise RunError(f"the output {out.name} must end in .safetensors, which is what web UIs load as a LoRA")
    if out.exists() and not overwrite:
        raise OutputExists(f"{out} exists; choose another name, or ask to overwrite it")
    parent = out.parent
    if not parent.is_dir():
        raise RunError(f"the folder {parent} does not exist; make it, or choose another place for the output")
    if not os.access(parent, os.W_OK):
        raise RunError(f"the folder {parent} cannot be written; choose another place for the output")


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
    task = Task(Path(about["checkpoint"]), out or Path(about["out"]), folder, config, device, overwrite)
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
                    if not isinstance(event, Opened):
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

    prompts = preview_prompts(session, config)
    with session.denoiser.frozen():
        before = _pictures(session, prompts)
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
                yield _preview(session, folder, prompts, before)
    except GeneratorExit:
        _save_stopped(session, task, checkpoint, prompts, before)
        raise
    except (EraseError, OSError, MemoryError, RuntimeError):
        if trainer.step > saved:
            with suppress(RunError, MemoryError, RuntimeError):  # what went wrong first says more
                _save(session, folder)
        raise
    _save(session, folder)
    preview = _preview(session, folder, prompts, before)
    yield preview
    change = _finish(session, task, checkpoint, preview.path, before)
    yield Saved(trainer.step, task.out, final=True, change=change)


# --- pictures


def preview_prompts(session: Session, config: EraseConfig) -> list[str]:
    """The erased concepts, two protected neighbours of the first, and one prompt that has nothing to do with them."""
    template = config.templates[0]
    first = session.space.targets[0]
    near = [candidate.text for candidate in first.preserved[:2]]
    far = [first.preserved[-1].text] if len(first.preserved) > 2 else []
    names = list(dict.fromkeys([*config.erase[:5], *config.preserve[:2], *near, *far]))
    return [template.format(name) for name in names]


def _pictures(session: Session, prompts: list[str]) -> list[Image.Image]:
    every = [prompt for prompt in prompts for _ in PREVIEW_SEEDS]
    with session.denoiser.uncounted():
        return draw_pictures(session.models, session.denoiser, session.embedder, every, PREVIEW_SEEDS * len(prompts))


def _preview(session: Session, folder: RunFolder, prompts: list[str], before: list[Image.Image]) -> Preview:
    after = _pictures(session, prompts)
    n = len(PREVIEW_SEEDS)
    columns = [f"{when}, seed {seed}" for when in ("before", "after") for seed in PREVIEW_SEEDS]
    rows = [(prompt, [*before[i * n : (i + 1) * n], *after[i * n : (i + 1) * n]]) for i, prompt in enumerate(prompts)]
    path = folder.preview(session.trainer.step)
    temporary = path.with_name(path.name + ".part")
    picture_grid(columns, rows).save(temporary, format="PNG")
    temporary.replace(path)
    return Preview(session.trainer.step, path)


# --- files


def _save(session: Session, folder: RunFolder) -> int:
    save_state(folder.state, session.trainer.tensors(), session.trainer.meta())
    return session.trainer.step


def _save_stopped(
    session: Session, task: Task, checkpoint: CheckpointInfo, prompts: list[str], before: list[Image.Image]
) -> None:
    """The state first: what comes after it may fail without losing anything."""
    _save(session, task.folder)
    if session.trainer.step == 0:
        return
    with suppress(IneffectiveLora):  # a run stopped after very few updates has nothing to show yet
        preview = _preview(session, task.folder, prompts, before)
        out = stopped_name(task.out, session.trainer.step)
        change = _finish(session, task, checkpoint, preview.path, before, out=out)
        task.folder.log(Saved(session.trainer.step, out, change=change))


def stopped_name(out: Path, step: int) -> Path:
    """Where the LoRA of a stopped run goes: a name of its own, which no file has yet.

    Never the final name: web UIs go on using a file from memory when another takes its name.
    """
    path = out.with_name(f"{out.stem}-step{step}.safetensors")
    for again in count(2):
        if not path.exists():
            break
        path = out.with_name(f"{out.stem}-step{step}-{again}.safetensors")
    return path


def _finish(
    session: Session,
    task: Task,
    checkpoint: CheckpointInfo,
    cover: Path,
    before: list[Image.Image],
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
        config=config.to_dict(),
        resolution=session.pixels,
        base_name=checkpoint.path.name,
        base_sha256=about["sha256"],
        base_short_hash=about.get("short_hash") or short_hash(checkpoint.path),
        cover=Image.open(cover),
        steps=session.trainer.step,
        planned_steps=config.updates,
        started=None if started is None else datetime.fromtimestamp(started, timezone.utc),
        finished=datetime.now(timezone.utc),
    )
    write_lora(
        task.folder.lora,
        lora_state(session.models.unet),
        alpha=config.alpha,
        metadata=metadata,
        dtype=DTYPES[config.save_precision],
        overwrite=True,
    )
    change = check_lora(session, task.folder.lora, before[0], config)
    _place(task.folder.lora, out, overwrite=task.overwrite)
    return change


def check_lora(session: Session, path: Path, before: Image.Image, config: EraseConfig) -> float:
    """Read a LoRA file back: every key has a layer, all is finite, and the first erased concept's picture changes.

    Takes the trained LoRA off the U-Net. Returns the picture's mean change in levels of 255. Raises: LoraFileError.
    """
    unet = session.models.unet
    file = read_lora(path)
    remove_lora(unet)
    match_lora(file, unet)
    inject_lora_file(unet, file, 1.0)
    prompt = config.templates[0].format(config.erase[0])
    with session.denoiser.uncounted():
        after = draw_pictures(session.models, session.denoiser, session.embedder, [prompt], PREVIEW_SEEDS[:1])
    change = difference(before, after[0])
    if change < SMALLEST_CHANGE:
        raise IneffectiveLora(
            f"the LoRA was trained, but it does not change the picture of {prompt!r} (mean change {change:.2f} of 255 "
            "levels); use more steps, a higher learning_rate or a higher rank"
        )
    return change


def _place(source: Path, out: Path, *, overwrite: bool) -> None:
    temporary = out.with_name(out.name + ".part")
    try:
        shutil.copyfile(source, temporary)
        if out.exists() and not overwrite:
            raise OutputExists(f"{out} appeared while training; the LoRA is at {source}")
        temporary.replace(out)
    except OSError as error:
        raise RunError(f"{out} could not be written: {error}; the LoRA is safe at {source}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
