"""A file of weights, ``.safetensors`` or ``.ckpt``: what its header says, and its tensors on demand.

Written against the files themselves: web UIs replace ``torch.load`` and ``safetensors.torch.load_file`` with
versions that rename or refuse a user's file when anything goes wrong.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.model import pickle_file

if TYPE_CHECKING:
    import torch

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
UNFINISHED = (".part", ".crdownload", ".download", ".aria2", ".tmp")
FLOATS = ("F16", "BF16", "F32", "F64")
_MAX_HEADER = 100_000_000  # as in safetensors
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LOG_IN = "Download it again; the site may ask you to log in first."
_IMPOSTORS = (
    (
        rb"version https://git-lfs",
        "a git-lfs pointer, not the weights",
        "Fetch the file with `git lfs pull`.",
    ),
    (rb"<(!doctype|html|head|body|script|\?xml|!--)", "a web page, not the weights", _LOG_IN),
    (rb"\{\s*\"(error|message|detail)\"", "a server's error message, not the weights", _LOG_IN),
)


@dataclass(frozen=True)
class WeightsFile:
    """The header of a weights file.

    ``shapes`` and ``dtypes`` (safetensors' names, say ``F16``) by tensor name; ``others``: names of what is
    no tensor at a pickle's top level; ``metadata``: the texts in a safetensors header.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    others: frozenset[str] = frozenset()
    pickled: Mapping[str, pickle_file.PickledTensor] | None = None  # None: a safetensors file


def open_weights(path: Path) -> WeightsFile:
    """Read the header of ``path``. Raises BrokenCheckpoint, or UnsupportedCheckpoint (unknown extension)."""
    if not path.exists():
        raise BrokenCheckpoint(f"There is no checkpoint at {path}. Check the path.")
    suffix = path.suffix.lower()
    if suffix in UNFINISHED:
        raise BrokenCheckpoint(f"{path} is an unfinished download. Wait for it, or download it again.")
    if suffix not in (".safetensors", *PICKLES):
        raise UnsupportedCheckpoint(
            f"{path} has an unknown extension. Give a .safetensors or .ckpt file, or a diffusers folder."
        )
    _refuse_impostors(path, suffix)
    if suffix == ".safetensors":
        return _open_safetensors(path)
    tensors, others = pickle_file.scan(path)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    return WeightsFile(path, shapes, dtypes, others=others, pickled=tensors)


def read_tensors(weights: WeightsFile, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Read the named tensors, on the CPU, as stored.

    Raises BrokenCheckpoint naming the tensor when a value is not finite.
    """
    if weights.pickled is not None:
        tensors = pickle_file.read(weights.path, {name: weights.pickled[name] for name in names})
    else:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(weights.path), framework="pt", device="cpu") as file:
                # Cloned: the reader's tensors are views of the file, which may be replaced while we train.
                tensors = {name: file.get_tensor(name).clone() for name in names}
        except SafetensorError as error:
            raise BrokenCheckpoint(f"{weights.path} is damaged ({error}). Download it again.") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BrokenCheckpoint(
                f"{weights.path} is damaged: {name} holds values that are no numbers (NaN or infinite). "
                "A merge may have gone wrong; use another copy of the model."
            )
    return tensors


def _refuse_impostors(path: Path, suffix: str) -> None:
    with path.open("rb") as file:
        start = file.read(64)
    if not start.strip(b"\0"):
        what = "empty" if not start else "filled with zeros, as an unfinished download is"
        raise BrokenCheckpoint(f"{path} is {what}. Download it again.")
    for pattern, what, advice in _IMPOSTORS:
        if re.match(rb"(\xef\xbb\xbf)?\s*" + pattern, start, re.IGNORECASE):
            raise BrokenCheckpoint(f"{path} is {what}. {advice}")
    if suffix == ".safetensors" and (start.startswith(b"PK") or (start[:1] == b"\x80" and start[1:3] == b"\x02\x8a")):
        raise BrokenCheckpoint(f"{path} is a torch file under the wrong name. Rename it to {path.stem}.ckpt.")
    if suffix != ".safetensors" and start[8:10] == b'{"':
        raise BrokenCheckpoint(
            f"{path} is a safetensors file under the wrong name. Rename it to {path.stem}.safetensors."
        )


def _open_safetensors(path: Path) -> WeightsFile:
    """The header: 8 bytes length (little endian), JSON, then the data that the JSON's offsets point into."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header, length = _read_header(path, file, size)
    metadata = header.pop("__metadata__", {})
    shapes, dtypes, end = {}, {}, 0
    for name, entry in header.items():
        try:
            first, last = map(int, entry["data_offsets"])
            shape, dtype = tuple(map(int, entry["shape"])), str(entry["dtype"])
        except (TypeError, KeyError, ValueError) as error:
            raise BrokenCheckpoint(f"{path} has a damaged header at {name!r}. Download it again.") from error
        length_fits = dtype not in _BYTES or last - first == math.prod(shape) * _BYTES[dtype]
        if first < 0 or last < first or min(shape, default=0) < 0 or not length_fits:
            raise BrokenCheckpoint(f"{path} has a damaged header at {name!r}. Download it again.")
        shapes[name], dtypes[name], end = shape, dtype, max(end, last)
    if 8 + length + end > size:
        raise BrokenCheckpoint(
            f"{path} is truncated: it has {size:,} bytes of {8 + length + end:,}. Download it again."
        )
    if 8 + length + end < size:
        raise BrokenCheckpoint(
            f"{path} is damaged: {size - 8 - length - end:,} bytes follow its weights. Download it again."
        )
    texts = {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}
    return WeightsFile(path, shapes, dtypes, metadata=texts)


def _read_header(path: Path, file: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    if size < 8:
        raise BrokenCheckpoint(f"{path} is truncated: it has only {size} bytes. Download it again.")
    length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER:
        raise BrokenCheckpoint(f"{path} is no safetensors file: its header cannot be read. Download it again.")
    if 8 + length > size:
        raise BrokenCheckpoint(f"{path} is truncated inside its header ({size:,} bytes). Download it again.")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise BrokenCheckpoint(f"{path} has a damaged header ({error}). Download it again.") from error
    if not isinstance(header, dict) or not (set(header) - {"__metadata__"}):
        raise BrokenCheckpoint(f"{path} holds no weights. Choose a Stable Diffusion 1.x checkpoint.")
    return header, length
