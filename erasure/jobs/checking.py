"""What a received LoRA file or a checkpoint says of itself, whether its hashes hold, and whether they go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure.file_hashes import sha256_of_files
from erasure.jobs.problems import described
from erasure.lora.parts import UNMEASURED
from erasure.verdict.verdict import lines, stated_verdict

if TYPE_CHECKING:
    from erasure.bake.explain import BakedIn, CheckpointReport
    from erasure.lora.explain import LoraReport


@dataclass(frozen=True)
class LoraCheck:
    """``same_base``: whether the checkpoint is the base, by hash; None if the file states none. ``base`` says it.

    ``combined``: of what it was made, if it was combined from others, else "". ``baked``: what is baked into the
    checkpoint, by what that says, and whether the LoRA is among it; "" for nothing. ``measured``: what its maker
    measured, in words, unchecked. Texts are from the files: whoever shows them must escape them.
    """

    lora: str
    checkpoint: str
    kind: str
    erases: tuple[str, ...]
    whole: bool
    hashes: dict[str, str]
    made_from: str
    same_base: bool | None
    base: str
    combined: str
    baked: str
    measured: tuple[str, ...]
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def check_received(lora: Path, checkpoint: Path) -> LoraCheck:
    """Check a file. Takes no device; reads all of both files once. Raises: EraseError."""
    from erasure.bake.explain import baked_into
    from erasure.lora.explain import explain_lora
    from erasure.lora.file import read_lora_header
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.verdict.base_check import check_base

    with described():
        report = explain_lora(lora)
        base = check_base(read_lora_header(lora).metadata, inspect_checkpoint(checkpoint))
        baked = _baked(baked_into(checkpoint), lora)
    return LoraCheck(
        lora=lora.name,
        checkpoint=checkpoint.name,
        kind=report.kind,
        erases=report.erases,
        whole=report.whole,
        hashes={"content hash": report.hash_check, **report.other_hashes},
        made_from=report.base["checkpoint"],
        same_base=base.same,
        base=base.line,
        combined="" if report.combined is None else report.combined.line,
        baked=baked,
        measured=_measured(report),
        problems=report.problems,
    )


def check_checkpoint(checkpoint: Path) -> CheckpointReport:
    """Say what is baked into a checkpoint. Takes no device; reads all of one that says so. Raises: EraseError."""
    from erasure.bake.explain import explain_checkpoint

    with described():
        return explain_checkpoint(checkpoint)


def _baked(baked: Sequence[BakedIn], lora: Path) -> str:
    """Return what is baked into a checkpoint, in words; a LoRA that is among it would count twice in a prompt."""
    if not baked:
        return ""
    hashes = {part.sha256 for each in baked for part in each.loras}
    twice = "This LoRA is among it: in a prompt it would count twice. " if sha256_of_files([lora]) in hashes else ""
    return twice + "; then ".join(each.line for each in baked)


def _measured(report: LoraReport) -> tuple[str, ...]:
    verdict = stated_verdict(report.verdict)
    if verdict is not None:
        return tuple(lines(verdict))
    return (UNMEASURED,) if report.combined is not None and not report.combined.refined else ()
