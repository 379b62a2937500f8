"""Judging in a run: the pictures before are kept in the run folder, those after give the verdict."""

from __future__ import annotations

from collections.abc import Generator

from erasure.errors import RunError
from erasure.model.drawing import relayed
from erasure.model.stage import Stage, counted
from erasure.run.folder import RunFolder
from erasure.run.state import load_state, save_state
from erasure.run.tuned_model import Examined
from erasure.verdict.verdict import Verdict


def judge_before(examination: Examined, folder: RunFolder) -> Generator[Stage, None, None]:
    """Use what the run folder holds of the pictures before, or draw and judge them and write that. Raises: RunError."""
    if _known(examination, folder):
        return
    yield from relayed(examination.before(), counted("judges what the model draws", examination.pictures))
    save_state(folder.judged, examination.tensors(), {})


def judge_after(examination: Examined, step: int) -> Generator[Stage, None, Verdict]:
    """Draw and judge with the LoRA; return the verdict after ``step`` updates."""
    return relayed(examination.after(step), counted("judges what the LoRA does", examination.pictures))


def _known(examination: Examined, folder: RunFolder) -> bool:
    """Whether the file in the run folder is there, whole, and of the same panel."""
    if not folder.judged.exists():
        return False
    try:
        examination.load(load_state(folder.judged)[0])
    except RunError:
        return False
    return True
