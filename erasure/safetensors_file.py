"""The only reader of safetensors files: tensors, and headers, which are checked in full before use.

It does not use ``safetensors.torch.load_file``, because web UIs replace that with a version that renames or refuses a
user's file when anything goes wrong. Format: 8 bytes with the header's length (little endian), the header as JSON, then
the data that its offsets point into, without gaps (github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from erasure.regular_file import regular_size

if TYPE_CHECKING:
    import torch

# Safetensors itself allows 100 MB, which become gigabytes of Python objects. The longest that people have, those of
# LoRAs with the tags of every training picture in their metadata, have a few MB.
_MAX_HEADER = 16_000_000
_MOST_DIMENSIONS = 64  # as in torch
_LARGEST = 2**63  # torch counts numbers and bytes in 64 bits
_MOST_MAPPED = 2**30  # bytes of a file that are read in one go
_DIGITS = 20  # more than any number below that has
BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
          "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
Entry = tuple[str, tuple[int, ...], tuple[int, int]]
"""Of a tensor: its number type, shape, first byte and the one after its last."""
AGAIN = "Download it again."
_LOG_IN = "Download it again; the site may ask you to log in first."
_IMPOSTORS = (
    (rb"version https://git-lfs", "a git-lfs pointer, not the weights", "Fetch the file with `git lfs pull`."),
    (rb"<(!doctype|html|head|body|script|\?xml|!--)", "a web page, not the weights", _LOG_IN),
    (rb"\{\s*\"(error|message|detail)\"", "a server's error message, not the weights", _LOG_IN),
)


class DamagedFile(ValueError):
    """The file cannot be read: ``what`` completes the sentence "the file is ...", ``advice`` says what to do."""

    def __init__(self, what: str, advice: str = AGAIN):
        self.what, self.advice = what, advice
        super().__init__(f"it is {what}")


@dataclass(frozen=True)
class Header:
    """A checked header.

    ``shapes`` and ``dtypes`` (safetensors' names, such as ``F16``) by tensor name, in the order of the header;
    ``metadata``: texts by key. ``places``: of every tensor the first byte, and the one after its last, counted from
    ``start``, where the data begin.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]
    places: Mapping[str, tuple[int, int]]
    start: int


def read_header(path: Path) -> Header:
    """Read the header and check all of it. Raises: DamagedFile if it is not sound, OSError if it cannot be read."""
    size = regular_size(path)
    with path.open("rb") as file:
        start = file.read(64)
        refuse_impostor(start)
        if start.startswith(b"PK") or (start[:1] == b"\x80" and start[1:3] == b"\x02\x8a"):
            raise DamagedFile("a torch file with the wrong extension", f"Rename it to {path.stem}.ckpt.")
        file.seek(0)
        entries, length = _read_json(file, size)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise DamagedFile("damaged: its metadata cannot be read")
    places: dict[str, tuple[int, int]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for name, entry in entries.items():
        shapes[name], dtypes[name], places[name] = _entry(name, entry)
    _check_places(places, size - 8 - length, size)
    return Header(shapes, dtypes, metadata, places, 8 + length)


def read_tensors(path: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Load the named tensors as stored, on the CPU, in memory of their own.

    Raises: DamagedFile if the file is not sound or is replaced meanwhile, OSError if it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, torch.Tensor] = {}
    ahead, before = list(names), stamp(path)
    try:
        while ahead:
            # What was read stays mapped until the file is closed, and would take as much memory again.
            with safe_open(str(path), framework="pt", device="cpu") as file:
                mapped = 0
                while ahead and mapped < _MOST_MAPPED:
                    name = ahead.pop(0)
                    # Cloned, because the tensors are views of the file, which may be replaced in the meantime.
                    tensors[name] = file.get_tensor(name).clone()
                    mapped += tensors[name].nbytes
            if ahead and stamp(path) != before:
                raise DamagedFile("another file than a moment ago: it was replaced while it was read", "Try again.")
    except SafetensorError as error:
        raise DamagedFile(f"damaged ({error})") from error
    return tensors


def stamp(path: Path) -> tuple[int, int, int]:
    """Return what differs if a file was changed or replaced. Raises: OSError."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def header_bytes(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    """Return the beginning of a file, up to where its data start: the length of the header, and the header.

    ``entries``: by tensor name, written in this order.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, (dtype, shape, place) in entries.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": list(place)}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)  # so that the data begin at a multiple of 8, as safetensors writes it
    return struct.pack("<Q", len(text)) + text


def data_start(data: bytes) -> int:
    """Return the offset at which the tensors' bytes begin, from the first 8 bytes of a file."""
    return 8 + int.from_bytes(data[:8], "little")


def refuse_impostor(start: bytes) -> None:
    """Recognise, by its first 64 bytes, what people often download instead of weights of any format.

    Raises: DamagedFile if it is such a file.
    """
    if not start:
        raise DamagedFile("empty")
    if not start.strip(b"\0"):
        raise DamagedFile("filled with zeros, like an unfinished download")
    for pattern, what, advice in _IMPOSTORS:
        if re.match(rb"(\xef\xbb\xbf)?\s*" + pattern, start, re.IGNORECASE):
            raise DamagedFile(what, advice)


def _read_json(file: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    if size < 8:
        raise DamagedFile(f"truncated: it has only {size} bytes")
    length = data_start(file.read(8)) - 8
    if length > _MAX_HEADER:
        raise DamagedFile(f"not a safetensors file: its header would have {length:,} bytes")
    if 8 + length > size:
        raise DamagedFile(f"truncated inside its header ({size:,} bytes)")
    try:
        entries = json.loads(file.read(length), parse_int=_whole, parse_float=_no_whole, parse_constant=_no_whole)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"not a sound safetensors file: it has a damaged header ({error})") from error
    if not isinstance(entries, dict):
        raise DamagedFile("not a safetensors file: its header lists no tensors")
    return entries, length


def _entry(name: str, entry: Any) -> tuple[tuple[int, ...], str, tuple[int, int]]:
    """Return the shape, number type, and first and last byte of one tensor."""
    try:
        shape, dtype, place = entry["shape"], entry["dtype"], entry["data_offsets"]
        sound = isinstance(dtype, str) and len(place) == 2 and len(shape) <= _MOST_DIMENSIONS
        sound = sound and all(type(number) is int and 0 <= number < _LARGEST for number in (*place, *shape))
        if not sound or place[1] < place[0]:
            raise _damaged_at(name)
    except (TypeError, KeyError) as error:
        raise _damaged_at(name) from error
    first, last = place
    if dtype in BYTES and last - first != math.prod(shape) * BYTES[dtype]:
        raise _damaged_at(name)
    return tuple(shape), dtype, (first, last)


def _damaged_at(name: str) -> DamagedFile:
    return DamagedFile(f"not a sound safetensors file: it has a damaged header at {name[:200]!r}")


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"the number {text[:_DIGITS]}... is too large")
    return int(text)


def _no_whole(text: str) -> None:
    raise ValueError(f"{text[:_DIGITS]} is not a whole number")


def _check_places(places: Mapping[str, tuple[int, int]], there: int, size: int) -> None:
    """Check that the tensors follow each other without gaps and fill the file to its end."""
    end = 0
    for name, (first, last) in sorted(places.items(), key=lambda item: item[1]):
        if first != end:
            raise _damaged_at(name)
        end = last
    if end > there:
        raise DamagedFile(f"truncated: it has {size:,} of {size - there + end:,} bytes")
    if end < there:
        raise DamagedFile(f"damaged: {there - end:,} bytes follow its weights")
