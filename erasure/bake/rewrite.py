"""Writes a weights file again with some of its tensors changed and other metadata, block by block.

Everything else stays: the order of names in the header, that of the data, number types, and every byte of what is not
changed. safetensors' own ``save_file`` needs all tensors in memory, and puts them into an order of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.bake.change import LayerChange
from erasure.bake.contents import BLOCK, Contents
from erasure.safetensors_file import header_bytes


@dataclass(frozen=True)
class Rewritten:
    """What changes in a file: the tensor with this name, or of it only the rows from a first one to before a last.

    ``change``: makes what is done to these rows; it is called when they come.
    """

    name: str
    rows: tuple[int, int] | None
    change: Callable[[], LayerChange]


_Range = tuple[int, int, Callable[[], LayerChange] | None]

NO_HASH = "0" * 64
"""In the place of a hash that is not known yet."""


def rewrite(
    contents: Contents,
    out: Path,
    changes: Sequence[Rewritten],
    metadata: Callable[[str, str], Mapping[str, str]],
) -> Generator[int, None, tuple[str, str]]:
    """Write ``out``, and yield the bytes of data written so far. Return the sha256 of its data, and of the file read.

    ``changes``: none of a row twice. ``metadata``: called with the two hashes, 64 hex digits each, which are
    :data:`NO_HASH` at first; the length of what it returns must not depend on them. Of a pickle the second is never
    known. Raises: what :meth:`LayerChange.apply` raises; OSError.
    """
    data, base = hashlib.sha256(), hashlib.sha256(contents.head)
    header = header_bytes(contents.entries, metadata(NO_HASH, NO_HASH))
    done = 0
    with out.open("wb", buffering=0) as file, ThreadPoolExecutor(2) as pool:
        file.write(header)
        for block, written in _blocks(contents, changes):
            # Hashing takes as long as writing; both leave the other threads alone.
            hashing = [pool.submit(data.update, written), pool.submit(base.update, block)]
            _write(file, written)
            for each in hashing:
                each.result()
            done += len(written)
            yield done
        hashes = data.hexdigest(), base.hexdigest() if contents.head else NO_HASH
        final = header_bytes(contents.entries, metadata(*hashes))
        if len(final) != len(header):
            raise ValueError("the length of the metadata depends on the hashes")
        file.seek(0)
        file.write(final)
    return hashes


def _blocks(contents: Contents, changes: Sequence[Rewritten]) -> Iterator[tuple[memoryview, memoryview]]:
    """Yield each block as it is in the file, and as it is to be."""
    for first, last, make in _ranges(contents, changes):
        if make is None:
            yield from ((block, block) for block in contents.read(first, last, BLOCK))
            continue
        change, row = make(), 0
        for block in contents.read(first, last, change.step):
            written, row = change.apply(block, row)
            yield block, written


def _ranges(contents: Contents, changes: Sequence[Rewritten]) -> Iterator[_Range]:
    """Yield the data from beginning to end: what is changed by tensor or rows, what lies between in one piece."""
    begun = 0
    for first, last, make in sorted(_changed(contents, changes), key=lambda each: each[:2]):
        if begun < first:
            yield begun, first, None
        yield first, last, make
        begun = last
    if begun < contents.size:
        yield begun, contents.size, None


def _changed(contents: Contents, changes: Sequence[Rewritten]) -> Iterator[_Range]:
    for each in changes:
        _, shape, (first, last) = contents.entries[each.name]
        if first == last:
            continue
        row = (last - first) // shape[0]
        begin, end = (0, shape[0]) if each.rows is None else each.rows
        yield first + begin * row, first + end * row, each.change


def _write(file: Any, block: memoryview) -> None:
    while block:
        block = block[file.write(block) :]
