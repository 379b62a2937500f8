"""The end of a job: its LoRA gets a card; or nothing of it is left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

from erasure.errors import EraseError
from erasure.jobs.job import Result
from erasure.jobs.live import LiveJob, logger
from erasure.jobs.problems import describe
from erasure.model.checkpoint import inspect_checkpoint
from erasure.run.card import UNKNOWN_VERSION, write_card
from erasure.run.cover import is_unsafe
from erasure.run.events import Saved
from erasure.run.folder import RunFolder
from erasure.run.preview import RunPreview
from erasure.training.update_count import updates_made
from erasure.verdict.verdict import lines


def result_of(saved: Saved) -> Result:
    """Return the result of a job, from the event of its LoRA file."""
    path = saved.path
    return Result(path.stem, str(path), path.stat().st_size, saved.change)


def write_job_card(job: LiveJob, result: Result) -> list[Path]:
    """Write the card beside the LoRA, and return its files. A failure is only a note: the LoRA is what counts."""
    config, step = job.config, job.history.step
    anchors = ", ".join(anchor for anchor in config.anchor if anchor)
    description = f"Erases {', '.join(config.erase)}" + (f" (turned into {anchors})" if anchors else "")
    base, took = Path(job.record.checkpoint).name, updates_made(step, job.history.steps)
    made = f"Made by Adversarial Erase from {base} in {took}."
    verdict = job.history.verdict
    notes = "\n".join([made, *(lines(verdict) if verdict is not None else ())])
    drawn = RunPreview(job.folder, step)
    preview = drawn if drawn.place.is_file() else None
    unsafe = is_unsafe([*config.erase, *config.synonym])
    try:
        return write_card(Path(result.path), description, notes, preview, version=_version(job), after_only=unsafe)
    except (OSError, ValueError) as error:
        job.note(f"the card beside the LoRA could not be written: {describe(error)}")
        return []


def _version(job: LiveJob) -> str:
    try:
        return inspect_checkpoint(Path(job.record.checkpoint)).family.lora.card
    except EraseError:  # the checkpoint was moved after it was loaded
        return UNKNOWN_VERSION


def remove_files(paths: list[Path]) -> None:
    """Delete files. A failure is logged."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s could not be deleted: %s", path, error)


def remove_folder(folder: RunFolder) -> None:
    """Delete a run folder, as far as possible. What may be left has no record, and so it is no job."""
    try:
        shutil.rmtree(folder.path)
    except OSError as error:
        logger.warning("%s could not be deleted: %s", folder.path, error)
        shutil.rmtree(folder.path, ignore_errors=True)
