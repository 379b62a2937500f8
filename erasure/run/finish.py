"""The end of a run: its LoRA file is written, read back, tried out, and only then put in its place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from erasure.config.settle import asked_of
from erasure.errors import IneffectiveLora
from erasure.file_hashes import sha256_of_files
from erasure.lora.metadata import lora_metadata
from erasure.lora.parts import Combination, Part
from erasure.model.drawing import difference
from erasure.run.cover import cover_picture, is_unsafe
from erasure.run.output import place_lora
from erasure.run.pictures import RunPictures
from erasure.run.preview import BeforeAfter
from erasure.run.task import Task
from erasure.verdict.verdict import Verdict

# A picture that changes by less than this on average, in levels of 255, looks the same.
SMALLEST_CHANGE = 1.0


def finish(
    task: Task, pictures: RunPictures, rows: Sequence[BeforeAfter], out: Path, verdict: Verdict | None = None
) -> float:
    """Write the LoRA to the run folder, check it, and copy it to ``out``. Training is over then.

    ``rows``: pictures for its cover; ``verdict``: for its metadata. Returns the change that :func:`check_lora` saw.
    Raises: LoraFileError, RunError, OSError.
    """
    file = keep_lora(task, pictures, rows, out, verdict)
    change = check_lora(pictures, file)
    place_lora(file, out, overwrite=task.overwrite)
    return change


def keep_lora(
    task: Task, pictures: RunPictures, rows: Sequence[BeforeAfter], out: Path, verdict: Verdict | None = None
) -> Path:
    """Write the LoRA to the run folder alone, and return its path; arguments as of :func:`finish`.

    Raises: LoraFileError, RunError, OSError.
    """
    file = task.folder.lora
    pictures.tuned.write_lora(file, _metadata(task, pictures, rows, out, verdict))
    return file


def check_lora(pictures: RunPictures, path: Path) -> float:
    """Read a LoRA file back: every key has a layer, all values are finite, and it changes the first erased concept.

    Takes the trained LoRA off the U-Net. Returns the mean change of that concept's picture, in levels of 255.
    Raises: LoraFileError.
    """
    pictures.tuned.put_on(path)
    first = pictures.before[0]
    change = difference(first.image, pictures.first_again())
    if change < SMALLEST_CHANGE:
        raise IneffectiveLora(
            f"the LoRA was trained, but it does not change the picture of {first.subject.prompt!r} (mean change "
            f"{change:.2f} of 255 levels); use more steps, a higher learning_rate or a higher rank"
        )
    return change


def _metadata(
    task: Task, pictures: RunPictures, rows: Sequence[BeforeAfter], out: Path, verdict: Verdict | None
) -> dict[str, str]:
    config, tuned = task.config, pictures.tuned
    # The hashes from the start of the run: the checkpoint's file may have been moved or replaced since.
    origin = task.folder.origin()
    return lora_metadata(
        name=out.stem,
        family=tuned.family,
        prediction=tuned.prediction_type,
        config=config.to_dict(),
        asked=asked_of(config),
        resolution=tuned.pixels,
        base_name=task.checkpoint.name,
        base_sha256=origin.sha256,
        base_short_hash=origin.short_hash,
        base_weights=origin.ema,
        cover=cover_picture(rows, after_only=is_unsafe([*config.erase, *config.synonym])),
        steps=tuned.training.step,
        planned_steps=config.updates,
        verdict=None if verdict is None else verdict.to_dict(),
        names={own: others for own, *others in tuned.space.erased_by_target(config)},
        combined=_combined(task),
        started=None if origin.started is None else datetime.fromtimestamp(origin.started, timezone.utc),
        finished=datetime.now(timezone.utc),
    )


def _combined(task: Task) -> dict[str, Any] | None:
    """Return what the file says of the LoRAs that training started from, None if it started from none."""
    if not task.parents:
        return None
    parts = [
        Part(parent.path.stem, sha256_of_files([parent.path]), parent.weight, parent.erases) for parent in task.parents
    ]
    return Combination(tuple(parts), rank=0, left_out=0.0, rounding=0.0, refined=True).to_dict()
