"""Measuring a LoRA file on the device: one at a time, beside the queue of jobs, followed and cancelled by anyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any, Literal

from erasure.errors import EraseError, JobConflict, RunError
from erasure.host.base import Host
from erasure.jobs.errand import End, Errand, Shown
from erasure.jobs.gate import LORA, Gate
from erasure.jobs.problems import describe
from erasure.model.opening import Opening
from erasure.verdict.verdict import Verdict, told_verdict

if TYPE_CHECKING:
    from erasure.verdict.measurement import MeasureTask

MeasureState = Literal["measuring", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class MeasureRequest:
    """An order to measure a file, see :func:`erasure.verdict.measurement.measure_task`."""

    checkpoint: Path
    lora: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    weight: Any = 1.0
    usual: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class MeasureSnapshot:
    """A measurement at one moment: all that a page shows of it. ``share`` is what is done of it, from 0 to 1."""

    state: MeasureState
    lora: str  # the file's name
    checkpoint: str  # the file's base name
    erase: tuple[str, ...]
    weight: float
    message: str  # one line that says what it is doing now
    version: int  # grows with every change
    share: float = 0.0
    problem: str = ""  # why it failed
    notes: tuple[str, ...] = ()
    verdict: Verdict | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, the verdict with what follows from it."""
        verdict = None if self.verdict is None else told_verdict(self.verdict)
        return {**asdict(self), "verdict": verdict}


class Measuring:
    """The measurement of a host, the one that is on or else the last. Any thread may call any method."""

    def __init__(self, host: Host, gate: Gate, changed: Condition):
        self._host = host
        self._gate = gate
        self._changed = changed
        self._shown = Shown[MeasureSnapshot](changed)
        self._errand = Errand(host, gate, changed)

    @property
    def works(self) -> bool:
        return self._errand.works

    @property
    def on(self) -> bool:
        return self._shown.now is not None and self._shown.now.state == "measuring"

    def snapshot(self) -> MeasureSnapshot | None:
        """Return the measurement as it is now; None if there was none since the program started."""
        return self._shown.now

    def start(self, request: MeasureRequest) -> MeasureSnapshot:
        """Check the order, begin to measure, and return at once.

        Raises: EraseError for what cannot be measured; JobConflict while a job or another measurement uses the device.
        """
        self._gate.take(LORA)
        try:
            task = _read(request, self._host.opening(request.checkpoint))
            shown = self._shown.begin(
                lambda version: MeasureSnapshot(
                    state="measuring",
                    lora=task.file.path.name,
                    checkpoint=task.checkpoint.path.name,
                    erase=task.config.erase,
                    weight=task.weight,
                    message="waits for the device",
                    version=version,
                    notes=task.notes,
                )
            )
            self._errand.begin(f"measuring {task.file.path.stem}", lambda: self._measure(task), self._shown.failure)
        except BaseException:
            self._gate.free()
            raise
        return shown

    def cancel(self) -> None:
        """End the measurement after this step of drawing; nothing of it is kept. Raises: JobConflict if none is on."""
        with self._changed:
            if not self.on:
                raise JobConflict("no LoRA is being measured now")
            self._errand.cancel()
            self._shown.tell(message="will end after this step")

    # --- the thread

    def _measure(self, task: MeasureTask) -> End:
        """Return what tells of the end."""
        from erasure.verdict.examine import examine_lora

        def see(share: float) -> None:
            doing = "draws and judges pictures" if share else "looks for the words near the concept"
            self._shown.tell(share=share, message=doing)
            self._errand.report(round(100 * share), 100, f"measuring {task.file.path.stem}")

        self._shown.tell(message="loads the checkpoint and looks for the words near the concept")
        found = self._errand.follow(examine_lora(task, device=self._host.device()), see)
        if found is None:
            return lambda: self._shown.tell(state="cancelled", message="")
        return lambda: self._shown.tell(state="done", message="", share=1.0, notes=found.notes, verdict=found.verdict)


def _read(request: MeasureRequest, opening: Opening) -> MeasureTask:
    """Raises: EraseError."""
    from erasure.verdict.measurement import measure_task

    try:
        return measure_task(
            request.checkpoint, request.lora, request.given, request.weight, usual=request.usual, opening=opening
        )
    except EraseError:
        raise
    except Exception as error:  # of a library, or of the disk
        raise RunError(describe(error)) from error
