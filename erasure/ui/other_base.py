"""A LoRA where another checkpoint is selected than the one that it was made for."""

from __future__ import annotations

from erasure.jobs.job import Snapshot


def other_base(selected: str, run: Snapshot) -> str:
    """Return a sentence if the run's LoRA was made for another checkpoint than the selected one; "" otherwise.

    ``selected``: the base name of its file, as :attr:`Snapshot.checkpoint` is; "" if there is none.
    """
    if not selected or selected == run.checkpoint:
        return ""
    return f"{selected} is selected, but this LoRA was made for {run.checkpoint}: choose that one to see its work"
