"""A LoRA where another checkpoint is loaded than the one that it was made for."""

from __future__ import annotations

from erasure.jobs.job import Snapshot


def other_base(loaded: str, run: Snapshot) -> str:
    """Return a sentence if the run's LoRA was made for another checkpoint than the loaded one; "" otherwise.

    ``loaded``: the base name of its file, as :attr:`Snapshot.checkpoint` is; "" if there is none.
    """
    if not loaded or loaded == run.checkpoint:
        return ""
    return f"{loaded} is loaded, but this LoRA was made for {run.checkpoint}: choose that one to see its work"
