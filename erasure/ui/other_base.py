"""A LoRA where another checkpoint is selected than the one that it was made for."""

from __future__ import annotations

from pathlib import Path

from erasure.jobs.job import Snapshot


def other_base(selected: Path | None, run: Snapshot) -> str:
    """Return a sentence if the run's LoRA was made for another checkpoint than the selected one; "" otherwise.

    ``selected``: its file, None if there is none.
    """
    if selected is None or run.began_with(selected):
        return ""
    now, then = selected.name, run.checkpoint
    if now == then:
        now, then = (f"{path.parent.name}/{path.name}" for path in (selected, Path(run.place)))
    return f"{now} is selected, but this LoRA was made for {then}: choose that one to see its work"
