"""Reads weights from ``torch.save`` files (``.ckpt``) without running anything that is pickled in them.

A pickle is a program that may call any function by its name. Here no name is ever looked up (see
:mod:`erasure.model.pickle_program`): dictionaries are rebuilt, tensors only as descriptions (shape, number type, place
in the file), and everything else becomes an object that does nothing, so that the trainer callbacks inside published
SD 1.x files do no harm. Both formats of ``torch.save`` can be read: zip archives (``<root>/data.pkl``,
``<root>/data/<key>``; torch 1.6 and later), and the older stream of pickles followed by the storages.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.families.known import choose
from erasure.model.pickle_program import MOST_BYTES, STORAGES, BadPickle, BoundedReader, PickledTensor, follow
from erasure.regular_file import regular_size

if TYPE_CHECKING:
    import torch

# What trainers call the table of weights inside of their own.
_TABLES = ("state_dict", "model_state_dict", "model", "module")
_LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_MOST_DIRECTORY = 8_000_000  # bytes that list a zip archive's records; a checkpoint's list has some 100,000
_MOST_RECORDS = MOST_BYTES + 1_000_000
_MOST_SHARED = 4  # times the file's size that all of its tensors may have, where they share storages


def scan(path: Path) -> tuple[dict[str, PickledTensor], frozenset[str]]:
    """Find the tensors of a ``torch.save`` file by name, and the names of everything else at its top level.

    If there is an entry ``state_dict``, ``model`` or the like, as trainers write it, its contents are taken instead.
    Raises: BrokenCheckpoint if the file cannot be read; UnsupportedCheckpoint if it is a TorchScript archive.
    """
    regular_size(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(_LEGACY_MAGIC))
            if start.startswith(b"PK"):
                root, starts = _scan_zip(path)
            elif start == _LEGACY_MAGIC:
                root, starts = _scan_stream(file)
            else:
                raise BrokenCheckpoint(
                    f"{path} was not saved by torch: it starts with {start[:8]!r}. "
                    "Download it again, or choose another checkpoint."
                )
    except (BrokenCheckpoint, UnsupportedCheckpoint):
        raise
    except Exception as error:  # a hostile or damaged pickle may provoke anything
        raise BrokenCheckpoint(
            f"{path} is damaged or incomplete ({type(error).__name__}: {error}). Download it again."
        ) from error
    return _tensors(path, root, starts)


def read(path: Path, tensors: Mapping[str, PickledTensor]) -> dict[str, torch.Tensor]:
    """Read the described tensors from the file, into memory of their own.

    Raises: BrokenCheckpoint if the file is too short.
    """
    import torch

    result = {}
    with path.open("rb") as file:
        for name, tensor in tensors.items():
            _, dtype, width = STORAGES[tensor.storage]
            span = _span(tensor)
            file.seek(tensor.start + tensor.offset * width)
            data = bytearray(span * width)
            if file.readinto(data) != len(data):
                raise BrokenCheckpoint(f"{path} ends before the weights of {name}. Download it again.")
            if span == 0:
                result[name] = torch.empty(tensor.shape, dtype=getattr(torch, dtype))
                continue
            # Of 8-bit floats torch can do little else than convert them.
            bytewise = width == 1 and dtype != "bool"
            flat = torch.frombuffer(data, dtype=torch.uint8 if bytewise else getattr(torch, dtype))
            shaped = flat.as_strided(tensor.shape, tensor.stride).contiguous()
            result[name] = shaped.view(getattr(torch, dtype)) if bytewise else shaped
    return result


def _span(tensor: PickledTensor) -> int:
    """Return how many numbers of the storage the tensor spans."""
    if 0 in tensor.shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))


def _scan_zip(path: Path) -> tuple[Any, dict[str, tuple[int, int]]]:
    """Return what the pickle describes, and (start, length) in bytes of each storage in the file."""
    with path.open("rb") as file, path.open("rb") as places:
        reader = BoundedReader(file, _MOST_DIRECTORY)
        with zipfile.ZipFile(reader) as archive:
            reader.left = _MOST_RECORDS
            return _scan_archive(path, archive, places)


def _scan_archive(path: Path, archive: zipfile.ZipFile, file: IO[bytes]) -> tuple[Any, dict[str, tuple[int, int]]]:
    records = {record.filename: record for record in archive.infolist()}
    roots = [name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise BrokenCheckpoint(
            f"{path} is a zip archive that was not saved by torch. If it contains a checkpoint, unpack it first."
        )
    root = roots[0]
    if f"{root}constants.pkl" in records:
        raise UnsupportedCheckpoint(f"{path} is a TorchScript program. {choose()}")
    if f"{root}byteorder" in records and _content(archive, f"{root}byteorder", 16) != b"little":
        raise UnsupportedCheckpoint(f"{path} was saved on a big-endian machine. Convert it to safetensors.")
    starts = {}
    for name, record in records.items():
        if name.startswith(f"{root}data/"):
            if record.compress_type != zipfile.ZIP_STORED:
                raise BrokenCheckpoint(f"{path} was repacked with compression. Download the original file.")
            file.seek(record.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
            start = record.header_offset + 30 + name_length + extra_length
            starts[name.removeprefix(f"{root}data/")] = (start, record.file_size)
    pickled = io.BytesIO(_content(archive, f"{root}data.pkl", MOST_BYTES))
    return follow(BoundedReader(pickled))[0], starts


def _content(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Return what a record holds, of at most ``most`` bytes, however much it claims to have."""
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadPickle("it is compressed in a way that torch does not use")  # and that may take gigabytes
    with archive.open(name) as record:
        content = record.read(most + 1)
    if len(content) > most:
        raise BadPickle(f"{Path(name).name} has more than {most:,} bytes")
    return content


def _scan_stream(file: IO[bytes]) -> tuple[Any, dict[str, tuple[int, int]]]:
    """Scan the older format, like ``_scan_zip``; ``file`` is positioned after the magic number."""
    reader = BoundedReader(file)
    if follow(reader, 100)[0] != 1001:
        raise BadPickle("it has an unknown version of torch's file format")
    machine, _ = follow(reader, 1000)
    if not isinstance(machine, dict) or machine.get("little_endian") is False:
        raise BadPickle("it was saved on a big-endian machine")
    root, widths = follow(reader)
    starts = {}
    keys, _ = follow(reader)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in widths for key in keys):
        raise BadPickle("it has storages that belong to no tensor")
    for key in keys:
        (numbers,) = struct.unpack("<q", reader.read(8))
        if numbers < 0:
            raise BadPickle("it has a storage of negative length")
        starts[key] = (file.tell(), numbers * widths[key])
        file.seek(numbers * widths[key], 1)
    return root, starts


def _table(root: Any) -> Any:
    """Return the table of weights inside of those that trainers put around it."""
    for _ in range(4):
        if not isinstance(root, dict):
            break
        weights = any(isinstance(value, PickledTensor) for value in root.values())
        names = _TABLES[:1] if weights else _TABLES
        inner = next((root[name] for name in names if isinstance(root.get(name), dict)), None)
        if inner is None:
            break
        root = inner
    return root


def _tensors(
    path: Path, root: Any, starts: Mapping[str, tuple[int, int]]
) -> tuple[dict[str, PickledTensor], frozenset[str]]:
    """Return the tensors by name with their places filled in, checked against the length of the file."""
    root = _table(root)
    if not isinstance(root, dict):
        raise BrokenCheckpoint(f"{path} contains no table of weights. {choose()}")
    size = path.stat().st_size
    tensors, others = {}, set()
    for name, value in root.items():
        if not isinstance(value, PickledTensor) or not isinstance(name, str):
            others.add(str(name) if isinstance(name, (str, int)) else "?")
            continue
        start, length = starts.get(value.key, (0, -1))
        width = STORAGES[value.storage][2]
        fits = (
            len(value.shape) == len(value.stride)
            and min((*value.shape, *value.stride, value.offset)) >= 0
            and (value.offset + max(_span(value), math.prod(value.shape))) * width <= length
            and start + length <= size
        )
        if not fits:
            raise BrokenCheckpoint(f"{path} is damaged: it lacks the weights of {name}. Download it again.")
        tensors[name] = replace(value, start=start)
    if sum(math.prod(tensor.shape) * STORAGES[tensor.storage][2] for tensor in tensors.values()) > _MOST_SHARED * size:
        raise BrokenCheckpoint(f"{path} is damaged: its weights are larger than the file. Download it again.")
    return tensors, frozenset(others)
