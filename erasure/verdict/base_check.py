"""Whether a checkpoint is the base that a LoRA file was made from: by the file's hashes, or by what it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.model.checkpoint import CheckpointInfo, sha256, short_hash
from erasure.verdict.verdict import Verdict, stated_verdict

FEW_WORDS = 4  # near words that are judged, beside the target, where only the base is in question


@dataclass(frozen=True)
class BaseCheck:
    """``same``: whether the checkpoint is the base; None if the file states no hash. ``line`` says it in words."""

    same: bool | None
    line: str


def check_base(
    metadata: Mapping[str, str], checkpoint: CheckpointInfo, sha256_of: Callable[[Path], str] = sha256
) -> BaseCheck:
    """Compare the base's hashes that a LoRA file states with a checkpoint's.

    ``sha256_of``: called with the checkpoint's path, if its hash is needed. Raises: OSError.
    """
    short, full = (metadata.get(key, "").lower() for key in ("ss_sd_model_hash", "ss_new_sd_model_hash"))
    short = short if re.fullmatch("[0-9a-f]{8}", short) else ""
    full = full if re.fullmatch("[0-9a-f]{64}", full) else ""
    here = checkpoint.path.name
    base = metadata.get("ss_sd_model_name") or "another checkpoint"
    if not short and not full:
        return BaseCheck(None, f"the file does not state the hash of its base, so nobody can tell whether it is {here}")
    # The short hash first, because it is read in no time.
    same = (not short or short == short_hash(checkpoint.path)) and (not full or full == sha256_of(checkpoint.path))
    if same:
        return BaseCheck(True, f"it was made from {here} ({'sha256' if full else 'short hash'} is the same)")
    return BaseCheck(False, f"it was made from {base}, which is another file than {here}")


def told_by_measuring(here: Verdict, stated: Mapping[str, Any] | None) -> str:
    """Return in a sentence what a measurement on the checkpoint says of the base.

    ``stated``: the verdict in the file, as plain JSON types that anyone can edit; None if there is none.
    """
    there = stated_verdict(stated)
    if not here.of("target"):
        return "This checkpoint does not draw the concept recognisably, so nothing can be said about the base."
    if here.gone:
        as_there = ", as on its own base" if there is not None and there.gone else ""
        return f"Measured on a few pictures, it works here{as_there}: what it should erase is gone."
    if there is not None and there.left:
        return "Measured on a few pictures, something is left here, as on its own base."
    said = "less than its maker measured on its own base" if there is not None and there.gone else "too little"
    return f"Measured on a few pictures, it erases {said}: this is not its base, or it is a weak erasure."
