"""A run in a terminal: a bar with the time left, both losses and the concept that is preserved now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from erasure.run.events import Event, Judged, Measured, Planned, Preview, Saved
from erasure.run.folder import RunFolder
from erasure.run.preview import RunPreview
from erasure.training.events import Look, Note, Step
from erasure.training.plan import Plan
from erasure.training.update_count import updates
from erasure.verdict.verdict import lines
from erasure.whole_file import whole_file


class ProgressBar:
    """The progress of the run in ``folder``; a context manager, so that the bar is closed whatever happens."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._bar: Any = None
        self._plain = not sys.stderr.isatty()
        self._last: Step | None = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, event: Event) -> None:
        """Print what the event says; an update moves the bar."""
        if isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Note):
            tqdm.write(f"note: {event.text}")
        elif isinstance(event, Planned):
            self._plan(event.plan)
        elif isinstance(event, Preview):
            tqdm.write(f"before/after pictures: {write_sheet(self._folder, event.step)}")
        elif isinstance(event, Measured):
            tqdm.write(f"after {updates(event.step)}: {event.series} {event.value:.4g}")
        elif isinstance(event, Look):
            tqdm.write(look_line(event))
        elif isinstance(event, Judged):
            for line in lines(event.verdict):
                tqdm.write(line)
            if event.verdict.left:
                tqdm.write(f"not gone yet; to train on: python -m erasure train --resume {self._folder.path} --steps N")
        elif isinstance(event, Saved) and event.is_lora:
            rows, seconds = (self._last.rows, self._last.seconds) if self._last else (0, 0.0)
            size = event.path.stat().st_size / 1e6
            said = "done" if event.final else "LoRA so far"
            tqdm.write(
                f"{said}: {event.path} ({size:.1f} MB), {updates(event.step)}, {rows:,} U-Net rows, {seconds:.0f} s"
            )

    def _plan(self, plan: Plan) -> None:
        for target in plan.space.targets:
            synonyms = ", ".join(candidate.text for candidate in target.synonyms)
            tqdm.write(
                f"erasing {target.target!r} -> {target.anchor or 'nothing'}, "
                f"preserving among {len(target.preserved)} concepts"
                + (f"; drawn just like it: {synonyms}" if synonyms else "")
            )
            if target.drawn_as_target:
                tqdm.write(
                    f"drawn as {target.target!r}, so that both cannot be had: {', '.join(target.drawn_as_target)}; "
                    "they hold the erasure back, unless --synonym erases them too"
                )
        tqdm.write(
            f"{plan.layers} layers, {plan.parameters:,} parameters, at most {updates(plan.updates)}, "
            f"about {plan.rows_per_update:.1f} U-Net rows each"
        )

    def _step(self, step: Step) -> None:
        self._last = step
        kept = f" now preserving {step.preserved[0]!r}" if step.preserved else ""
        text = f"erase {step.erase_loss:.4f} preserve {step.preserve_loss:.4f}{kept}"
        if self._plain:
            every = max(1, step.steps // 10)
            if step.step % every == 0 or step.step == step.steps:
                left = step.seconds / step.step * (step.steps - step.step)
                tqdm.write(f"{step.step}/{step.steps} {text}, {left:.0f} s left", file=sys.stderr)
            return
        if self._bar is None:
            self._bar = tqdm(total=step.steps, initial=step.step - 1, unit="update", dynamic_ncols=True)
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(1)


def look_line(look: Look) -> str:
    """Return a look in one line; before the first update, only what is recognised tells something."""
    left = ", ".join(f"{target} in {found} of {count}" for target, (found, count) in look.recognised.items())
    kept = "" if look.kept is None or not look.step else f"; nearest words {look.kept:.0%} as before"
    when = f"after {updates(look.step)}" if look.step else "before"
    return f"{when}: recognised {left} pictures{kept}"


def write_sheet(folder: RunFolder, step: int) -> Path:
    """Write a sheet of the pictures before and after ``step`` updates into the run folder. Raises: OSError."""
    path = folder.sheet(step)
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(RunPreview(folder, step).png())
    return path
