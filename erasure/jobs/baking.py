"""Baking LoRAs into a checkpoint: one at a time, beside the queue of jobs, followed and cancelled by anyone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any, Literal

from erasure.errors import ConfigError, RunError
from erasure.host.base import Host
from erasure.jobs.errand import Begun, End, Followed
from erasure.jobs.gate import BAKE, Gate
from erasure.jobs.live import logger
from erasure.jobs.names import safe_name
from erasure.jobs.problems import described

if TYPE_CHECKING:
    from erasure.bake.task import BakeTask

BakeState = Literal["baking", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class BakeRequest:
    """An order to bake. ``loras``: files with weights; ``name``: of the new checkpoint, without folder or ending."""

    checkpoint: Path
    loras: Sequence[tuple[Path, Any]]
    name: str


@dataclass(frozen=True)
class BakeSnapshot:
    """A bake at one moment: all that a page shows of it. ``share`` is what is written of it, from 0 to 1."""

    state: BakeState
    name: str  # the new file's or folder's
    checkpoint: str  # the base's name
    loras: tuple[tuple[str, float], ...]  # names and weights
    message: str  # one line that says what it is doing now
    version: int  # grows with every change
    share: float = 0.0
    problem: str = ""  # why it failed
    notes: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()  # what came of it, in words
    layers: int = 0  # that were changed
    rounding: float | None = None  # norm of what rounding added, relative to that of the change

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        loras = [{"lora": name, "weight": weight} for name, weight in self.loras]
        return {**asdict(self), "loras": loras}


class Baking(Followed[BakeSnapshot]):
    """The bake of a host, the one that is on or else the last. Any thread may call any method."""

    def __init__(self, host: Host, gate: Gate, changed: Condition):
        super().__init__(host, gate, changed, BAKE, "baking")

    def start(self, request: BakeRequest) -> BakeSnapshot:
        """Check the order, begin to bake, and return at once.

        Nothing is overwritten. Raises: EraseError for what cannot be baked; JobConflict while a job or another errand
        uses the device.
        """
        return self.begin(lambda: self._begun(_read(request, self._host)))

    def cancel(self) -> None:
        """End the bake; nothing of it is left. Raises: JobConflict if none is on."""
        self.end("nothing is being baked now", "will end now")

    def _begun(self, task: BakeTask) -> Begun[BakeSnapshot]:
        def shown(version: int) -> BakeSnapshot:
            return BakeSnapshot(
                state="baking",
                name=task.out.name,
                checkpoint=task.checkpoint.path.name,
                loras=tuple((file.path.name, weight) for file, weight in task.loras),
                message="waits for the device",
                version=version,
                notes=task.notes,
            )

        return Begun(f"baking {task.out.name}", shown, lambda: self._bake(task))

    # --- the thread

    def _bake(self, task: BakeTask) -> End:
        """Return what tells of the end."""
        from erasure.bake.baking import bake

        percent = -1

        def see(share: float) -> None:
            nonlocal percent
            if int(100 * share) == percent:  # it is asked for every megabyte
                return
            percent = int(100 * share)
            self._shown.tell(share=share, message="writes the checkpoint")
            self._errand.report(percent, 100, f"baking {task.out.name}")

        found = self._errand.follow(bake(task), see)
        if found is None:
            return lambda: self._shown.tell(state="cancelled", message="")
        try:
            self._host.look_for_checkpoints()
        except Exception:  # the file is there all the same
            logger.exception("the host could not look for new checkpoints")
        return lambda: self._shown.tell(
            state="done", message="", share=1.0, notes=found.notes, lines=tuple(found.lines), layers=found.layers,
            rounding=found.rounding,
        )  # fmt: skip


def _read(request: BakeRequest, host: Host) -> BakeTask:
    """Raises: EraseError."""
    from erasure.bake.task import bake_task

    try:
        name = safe_name(request.name, "checkpoint")
    except RunError as error:
        raise ConfigError([f"name: {error}"]) from error
    with described():
        # Not by the name's suffix: a name may have a dot in it.
        name = name if request.checkpoint.is_dir() else f"{name}.safetensors"
        return bake_task(request.checkpoint, request.loras, host.folder_for_new(request.checkpoint) / name)
