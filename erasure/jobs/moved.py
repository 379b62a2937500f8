"""Find the checkpoint of an interrupted run again, if it was moved or renamed meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from erasure.errors import CheckpointError
from erasure.model.checkpoint import inspect_checkpoint, sha256, short_hash
from erasure.model.configuration import differences
from erasure.run.folder import Origin


def moved_checkpoint(origin: Origin, offered: Iterable[Path]) -> Path | None:
    """Return where the checkpoint of a run lies now, if no longer in its old place: the same bytes among ``offered``.

    None if it is in its old place, or nowhere. Of several, one that is read in the same way as then, by the files
    beside it, comes first. Files are read whole only if the short hash, of a small part of the file, is that of the
    checkpoint.
    """
    old, found = Path(origin.checkpoint), None
    for path in (old, *offered):
        with suppress(OSError, CheckpointError):  # one that cannot be read is not the one that is missing
            if short_hash(path) == origin.short_hash and sha256(path) == origin.sha256:
                found = found or path
                if not differences(origin.configuration, inspect_checkpoint(path)):
                    found = path
                    break
    return None if found == old else found
