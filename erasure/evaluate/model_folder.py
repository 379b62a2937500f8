"""Folders of models that others made, as transformers saves them: only weights that are data are read."""

from __future__ import annotations

from pathlib import Path

from erasure.errors import EvaluationError

WEIGHTS = "model.safetensors"


def check_weights(folder: Path, what: str) -> None:
    """Raise EvaluationError unless the folder has its weights as safetensors, in one file.

    Older versions of transformers fall back to a pickle, whose code would run, even if they are asked not to.
    ``what``: the model, for the message.
    """
    if not (folder / WEIGHTS).is_file():
        raise EvaluationError(
            f"{what} in {folder} cannot be used: it has no {WEIGHTS}. Give a folder with weights as safetensors; "
            "pickles are not opened."
        )
