"""Measuring a LoRA file on the device: one at a time, beside the queue of jobs, followed and cancelled by anyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any, Literal

from erasure.host.base import Host
from erasure.jobs.errand import Begun, End, Followed
from erasure.jobs.gate import LORA, Gate
from erasure.jobs.problems import described
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


class Measuring(Followed[MeasureSnapshot]):
    """The measurement of a host, the one that is on or else the last. Any thread may call any method."""

    def __init__(self, host: Host, gate: Gate, changed: Condition):
        super().__init__(host, gate, changed, LORA, "measuring")

    def start(self, request: MeasureRequest) -> MeasureSnapshot:
        """Check the order, begin to measure, and return at once.

        Raises: EraseError for what cannot be measured; JobConflict while a job or another measurement uses the device.
        """
        return self.begin(lambda: self._begun(_read(request, self._host.opening(request.checkpoint))))

    def cancel(self) -> None:
        """End the measurement after this step of drawing; nothing of it is kept. Raises: JobConflict if none is on."""
        self.end("no LoRA is being measured now", "will end after this step")

    def _begun(self, task: MeasureTask) -> Begun[MeasureSnapshot]:
        def shown(version: int) -> MeasureSnapshot:
            return MeasureSnapshot(
                state="measuring",
                lora=task.file.path.name,
                checkpoint=task.checkpoint.path.name,
                erase=task.config.erase,
                weight=task.weight,
                message="waits for the device",
                version=version,
                notes=task.notes,
            )

        return Begun(f"measuring {task.file.path.stem}", shown, lambda: self._measure(task))

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

    with described():
        return measure_task(
            request.checkpoint, request.lora, request.given, request.weight, usual=request.usual, opening=opening
        )
