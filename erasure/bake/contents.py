"""A weights file as bytes: its tensors in the order of their data, read in blocks, never the whole file at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import IO

import torch

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.model import pickle_file
from erasure.model.weights_file import WeightsFile
from erasure.safetensors_file import BYTES, DamagedFile, Entry, read_header

BLOCK = 2**20  # bytes that are read and written at a time

Blocks = Callable[[int, int, int], Iterator[memoryview]]


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    ``entries``: by the name in the file, in the order of its header; ``metadata``: texts of the header; ``head``: the
    bytes before the data, b"" of a pickle. ``read``: called with the first byte, the one after the last, and the
    largest size of a block, yields the bytes in blocks; each is valid until the next is asked for.
    """

    entries: dict[str, Entry]
    metadata: dict[str, str]
    head: bytes
    read: Blocks

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return max((place[1] for _, _, place in self.entries.values()), default=0)


@contextmanager
def opened(weights: WeightsFile) -> Iterator[Contents]:
    """Open a safetensors file, or a pickle as the safetensors file that it will be: same names, order, number types.

    Raises: BrokenCheckpoint; UnsupportedCheckpoint for number types that a safetensors file does not have.
    """
    if weights.pickled is not None:
        yield _pickled(weights)
        return
    try:
        header = read_header(weights.path)
    except DamagedFile as error:
        raise BrokenCheckpoint(f"{weights.path} is {error.what}. {error.advice}") from error
    entries = {name: (header.dtypes[name], header.shapes[name], header.places[name]) for name in header.shapes}
    with weights.path.open("rb", buffering=0) as file:
        head = file.read(header.start)

        def read(first: int, last: int, step: int) -> Iterator[memoryview]:
            file.seek(header.start + first)
            buffer = memoryview(bytearray(min(step, last - first)))
            for left in range(last - first, 0, -step):
                part = buffer[: min(step, left)]
                _fill(file, part, weights)
                yield part

        yield Contents(entries, dict(header.metadata), head, read)


def _fill(file: IO[bytes], part: memoryview, weights: WeightsFile) -> None:
    done = 0
    while done < len(part):
        got = file.readinto(part[done:])  # type: ignore[attr-defined]  # an unbuffered file has it
        if not got:
            raise BrokenCheckpoint(f"{weights.path} became shorter while it was read. Try again once it is complete.")
        done += got


def _pickled(weights: WeightsFile) -> Contents:
    tensors = weights.pickled
    assert tensors is not None
    odd = [name for name, tensor in tensors.items() if tensor.dtype not in BYTES]
    if odd:
        raise UnsupportedCheckpoint(
            f"{weights.path}: {odd[0]} has the number type {tensors[odd[0]].dtype}, which a .safetensors file cannot "
            "hold. Choose another version of the model."
        )
    sizes = [prod(tensor.shape) * BYTES[tensor.dtype] for tensor in tensors.values()]
    ends = list(accumulate(sizes))
    entries = {
        name: (tensor.dtype, tensor.shape, (end - size, end))
        for (name, tensor), size, end in zip(tensors.items(), sizes, ends, strict=True)
    }

    def read(first: int, last: int, step: int) -> Iterator[memoryview]:
        for name, (_, _, place) in entries.items():
            if max(first, place[0]) < min(last, place[1]):
                tensor = pickle_file.read(weights.path, {name: tensors[name]})[name]
                data = tensor.reshape(-1).view(torch.uint8).numpy().data
                data = data[max(first - place[0], 0) : last - place[0]]
                yield from (data[i : i + step] for i in range(0, len(data), step))

    return Contents(entries, {}, b"", read)
