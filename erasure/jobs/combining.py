"""Combining LoRAs of the Lora folder: one at a time, beside the queue of jobs; and as the start of a job."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any, Literal

from erasure.errors import ConfigError, RunError
from erasure.host.base import Host
from erasure.jobs.errand import Begun, End, Followed, told
from erasure.jobs.gate import COMBINE, Gate
from erasure.jobs.job import JobRequest
from erasure.jobs.live import logger
from erasure.jobs.names import safe_name, suggest_name, taken_names
from erasure.jobs.problems import describe, described
from erasure.lora.metadata import CONFIG_KEY, json_object
from erasure.lora.parts import erased_by
from erasure.run.card import write_card, write_cover
from erasure.run.cover import is_unsafe

if TYPE_CHECKING:
    from erasure.combine.combining import Combined
    from erasure.combine.task import CombineTask
    from erasure.model.checkpoint import CheckpointInfo

_ADDING = 0.1  # the share of the work that is not drawing, where pictures are drawn

CombineState = Literal["combining", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class CombineRequest:
    """An order to combine. ``loras``: files with weights; ``name``: of the new one, without folder or ending, "" for a
    suggested one. ``rank``: 0 for the exact sum. ``erase`` and ``preserve``: concepts to add; ``given``: settings in
    place of those of the files. ``checkpoint``: what pictures are drawn with, None for no pictures."""

    loras: Sequence[tuple[Path, Any]]
    name: str = ""
    rank: Any = 0
    erase: Sequence[str] = ()
    preserve: Sequence[str] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None


@dataclass(frozen=True)
class CombineSnapshot:
    """A combination at one moment: all that a page shows of it. ``share`` is what is done of it, from 0 to 1."""

    state: CombineState
    name: str  # the new file's
    loras: tuple[tuple[str, float], ...]  # names and weights
    message: str  # one line that says what it is doing now
    version: int  # grows with every change
    share: float = 0.0
    problem: str = ""  # why it failed
    notes: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()  # what came of it, in words
    erases: tuple[str, ...] = ()
    rank: int = 0  # the largest of a layer
    left_out: float | None = None  # norm of what compressing left out, relative to that of the sum
    rounding: float | None = None  # and of what rounding added
    pictures: bool = False  # whether there are some, see Combining.pictures

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        loras = [{"lora": name, "weight": weight} for name, weight in self.loras]
        return {**asdict(self), "loras": loras}


class Combining(Followed[CombineSnapshot]):
    """The combination of a host, the one that is on or else the last. Any thread may call any method."""

    def __init__(self, host: Host, gate: Gate, changed: Condition):
        super().__init__(host, gate, changed, COMBINE, "combining")
        self.pictures: bytes | None = None  # of the last combination, a PNG: before, exact, and compressed

    def start(self, request: CombineRequest, coming: Collection[str] = ()) -> CombineSnapshot:
        """Check the order, begin to combine, and return at once.

        ``coming``: names of LoRAs that jobs will make. Nothing is overwritten. Raises: EraseError for what cannot be
        combined; JobConflict while a job or another errand uses the device.
        """
        return self.begin(lambda: self._begun(request, coming))

    def cancel(self) -> None:
        """End the combination; nothing of it is left. Raises: JobConflict if none is on."""
        self.end("nothing is being combined now", "will end now")

    def _begun(self, request: CombineRequest, coming: Collection[str]) -> Begun[CombineSnapshot]:
        """Raises: EraseError."""
        task, base = read_request(self._host, request, coming), self._base(request)
        if base is not None:
            _check_fit(task, base)

        def shown(version: int) -> CombineSnapshot:
            return CombineSnapshot(
                state="combining",
                name=task.out.name,
                loras=tuple((file.path.name, weight) for file, weight in task.loras),
                message="waits for the device",
                version=version,
                notes=task.notes,
                erases=task.joint.erases,
            )

        return Begun(f"combining {task.out.stem}", shown, lambda: self._combine(task, base))

    def _base(self, request: CombineRequest) -> CheckpointInfo | None:
        """Return the checkpoint to draw pictures with. Raises: CheckpointError."""
        from erasure.model.checkpoint import inspect_checkpoint

        if request.checkpoint is None:
            return None
        return inspect_checkpoint(request.checkpoint).opened(self._host.opening(request.checkpoint))

    # --- the thread

    def _combine(self, task: CombineTask, base: CheckpointInfo | None) -> End:
        """Return what tells of the end."""
        from erasure.combine.combining import combine

        adding = 1.0 if base is None else _ADDING

        def see(share: float) -> None:
            self._see(task, share * adding, "adds up the layers")

        self.pictures = None
        found = self._errand.follow(combine(task), see)
        if found is None:
            return lambda: self._shown.tell(state="cancelled", message="")
        notes = (*found.notes, *_write_card(task, found), *(() if base is None else self._draw(task, base)))
        return lambda: self._shown.tell(
            state="done", message="", share=1.0, notes=notes, lines=tuple(found.lines), rank=found.rank,
            left_out=found.left_out, rounding=found.rounding, pictures=self.pictures is not None,
        )  # fmt: skip

    def _draw(self, task: CombineTask, base: CheckpointInfo) -> tuple[str, ...]:
        """Draw the pictures, or return a note on why there are none: the LoRA is there all the same."""
        from erasure.combine.pictures import comparison

        def see(share: float) -> None:
            self._see(task, _ADDING + share * (1 - _ADDING), "draws pictures")

        try:
            drawn = self._errand.follow(comparison(task, base, self._host.device()), see)
        except Exception as error:
            return (f"the pictures could not be drawn: {told(error)}",)
        if drawn is None:
            return ("drawing was cancelled, so there are no pictures",)
        stream = io.BytesIO()
        drawn.sheet.save(stream, format="PNG")
        self.pictures = stream.getvalue()
        try:
            write_cover(task.out, drawn.rows, after_only=is_unsafe(task.joint.erases))
        except (OSError, ValueError) as error:
            return (f"the picture beside the LoRA could not be written: {describe(error)}",)
        return ()

    def _see(self, task: CombineTask, share: float, doing: str) -> None:
        self._shown.tell(share=share, message=doing)
        self._errand.report(round(100 * share), 100, f"combining {task.out.stem}")


def read_request(host: Host, request: CombineRequest, coming: Collection[str] = ()) -> CombineTask:
    """Read an order: all of its files. Raises: EraseError."""
    from erasure.combine.task import combine_task

    folder = host.lora_folder()
    taken = {*taken_names(folder), *(name.casefold() for name in coming)}
    try:
        name = safe_name(request.name or _suggested(request, taken))
    except RunError as error:
        raise ConfigError([f"name: {error}"]) from error
    if name.casefold() in taken:
        raise ConfigError([f"name: there is a LoRA {name!r} already, or a job makes it; choose another name"])
    with described():
        return combine_task(
            request.loras,
            folder / f"{name}.safetensors",
            rank=request.rank,
            erase=request.erase,
            preserve=request.preserve,
            given=request.given,
        )


def _suggested(request: CombineRequest, taken: Collection[str]) -> str:
    """Return a name by what the files erase. Raises: LoraFileError."""
    from erasure.lora.file import read_lora_header

    said = [json_object(read_lora_header(path).metadata, CONFIG_KEY) for path, _ in request.loras]
    concepts = [*(concept for config in said for concept in erased_by(config)), *request.erase]
    return suggest_name(concepts or ["combined"], taken)


def refining_job(
    host: Host, request: CombineRequest, checkpoint: Path, rows: Any = None, coming: Collection[str] = ()
) -> JobRequest:
    """Return the job that trains on from the LoRAs of an order, all together. Raises: EraseError.

    ``rows``: of the U-Net that it may take, None for the usual number.
    """
    from erasure.combine.refine import parents_of, refine_config
    from erasure.combine.rows import ROWS
    from erasure.model.checkpoint import inspect_checkpoint

    task = read_request(host, request, coming)
    config = refine_config(task, ROWS if rows is None else rows)
    _check_fit(task, inspect_checkpoint(checkpoint))
    names = ", ".join(f"{file.path.stem} (weight {weight:g})" for file, weight in task.loras)
    notes = (f"training starts from {names}", *task.notes)
    return JobRequest(checkpoint, task.out.stem, config, parents_of(task), notes)


def _check_fit(task: CombineTask, checkpoint: CheckpointInfo) -> None:
    """Raises: LoraFileError if the files are for another U-Net."""
    from erasure.combine.pictures import check_fit

    check_fit(task, checkpoint)


def _write_card(task: CombineTask, made: Combined) -> tuple[str, ...]:
    """Write the card beside the LoRA. Return a note if that fails: the LoRA is what counts."""
    erases = f"Erases {', '.join(made.erases)}" if made.erases else "Combined from other LoRAs"
    names = ", ".join(map(str, task.parts))
    notes = "\n".join([f"Combined by Adversarial Erase from {names}.", *made.lines, "Nobody has measured the sum."])
    try:
        write_card(made.out, erases, notes, version=task.family.lora.card)
    except (OSError, ValueError) as error:
        logger.warning("the card of %s was not written: %s", made.out.name, error)
        return (f"the card beside the LoRA could not be written: {describe(error)}",)
    return ()
