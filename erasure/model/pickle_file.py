"""Reads weights from ``torch.save`` files (``.ckpt``) without running anything that is pickled in them.

A pickle is a program that may call any function by its name. Here no name is ever looked up: dictionaries are rebuilt,
tensors only as descriptions (shape, number type, place in the file), and everything else becomes an object that does
nothing, so that the trainer callbacks inside published SD 1.x files do no harm. Both formats of ``torch.save`` can be
read: zip archives (``<root>/data.pkl``, ``<root>/data/<key>``; torch 1.6 and later), and the older stream of pickles
followed by the storages.
"""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.families.known import choose

if TYPE_CHECKING:
    import torch

# torch's storage class -> safetensors' name of the number type, torch's name of it, bytes per number.
STORAGES = {
    "DoubleStorage": ("F64", "float64", 8),
    "FloatStorage": ("F32", "float32", 4),
    "HalfStorage": ("F16", "float16", 2),
    "BFloat16Storage": ("BF16", "bfloat16", 2),
    "LongStorage": ("I64", "int64", 8),
    "IntStorage": ("I32", "int32", 4),
    "ShortStorage": ("I16", "int16", 2),
    "CharStorage": ("I8", "int8", 1),
    "ByteStorage": ("U8", "uint8", 1),
    "BoolStorage": ("BOOL", "bool", 1),
    # Of tensors that torch has quantised: known, so that they can be refused by name.
    "QInt8Storage": ("QI8", "int8", 1),
    "QUInt8Storage": ("QU8", "uint8", 1),
    "QInt32Storage": ("QI32", "int32", 4),
    # A storage of bytes, whose tensors say themselves what they hold.
    "UntypedStorage": ("U8", "uint8", 1),
}
# The same for number types that have no storage class of their own: the tensor's number type stands for it.
_TYPED = {
    "float8_e4m3fn": ("F8_E4M3", "float8_e4m3fn", 1),
    "float8_e5m2": ("F8_E5M2", "float8_e5m2", 1),
    "float8_e4m3fnuz": ("F8_E4M3FNUZ", "float8_e4m3fnuz", 1),
    "float8_e5m2fnuz": ("F8_E5M2FNUZ", "float8_e5m2fnuz", 1),
    "uint16": ("U16", "uint16", 2),
    "uint32": ("U32", "uint32", 4),
    "uint64": ("U64", "uint64", 8),
}
STORAGES |= _TYPED
# What trainers call the table of weights inside of their own.
_TABLES = ("state_dict", "model_state_dict", "model", "module")
_LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


@dataclass(frozen=True)
class PickledTensor:
    """A tensor's place in the file: ``start`` is the byte at which its storage starts, ``offset`` counts numbers."""

    storage: str  # one of STORAGES
    key: str
    start: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """The number type as safetensors names it, such as ``F16``."""
        return STORAGES[self.storage][0]


def scan(path: Path) -> tuple[dict[str, PickledTensor], frozenset[str]]:
    """Find the tensors of a ``torch.save`` file by name, and the names of everything else at its top level.

    If there is an entry ``state_dict``, ``model`` or the like, as trainers write it, its contents are taken instead.
    Raises: BrokenCheckpoint if the file cannot be read; UnsupportedCheckpoint if it is a TorchScript archive.
    """
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


@dataclass(frozen=True)
class _StorageName:
    """Stands for a storage class in the pickle."""

    name: str


class _Dict(dict[object, object]):
    """Stands for OrderedDict; ignores the attributes that a pickle sets on it."""

    def __setstate__(self, state: object) -> None:
        return None


class _Inert:
    """Stands for everything that is neither a tensor nor a container: accepts all calls and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        return None

    def __call__(self, *args: object, **kwargs: object) -> _Inert:
        return self

    def __setstate__(self, state: object) -> None:
        return None

    def __setitem__(self, key: object, value: object) -> None:
        return None

    def append(self, item: object) -> None:
        return None

    def extend(self, items: Iterable[object]) -> None:
        return None


class _RebuildTensor:
    """Stands for ``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)``."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> PickledTensor:
        name, key = storage
        if name not in STORAGES:
            raise pickle.UnpicklingError(f"a tensor of an unknown type ({name})")
        shape, steps = tuple(map(int, size)), tuple(map(int, stride))
        return PickledTensor(name, key, -1, int(offset), shape, steps)


class _RebuildTyped:
    """Stands for ``torch._utils._rebuild_tensor_v3(storage, offset, size, stride, gradient, hooks, type, ...)``."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *more: Any) -> PickledTensor:
        _, key = storage
        if len(more) < 3 or not isinstance(more[2], _StorageName):
            raise pickle.UnpicklingError("a tensor of an unknown type")
        return _RebuildTensor()((more[2].name, key), offset, size, stride)


class _RebuildSubclass:
    """Stands for ``torch._tensor._rebuild_from_type_v2(function, type, arguments, state)``."""

    __slots__ = ()

    def __call__(self, function: Any, _type: object, arguments: Any, *_: object) -> object:
        made = (_RebuildTensor, _RebuildTyped, _RebuildParameter)
        return function(*arguments) if isinstance(function, made) else None


class _RebuildParameter:
    """Stands for ``torch._utils._rebuild_parameter(data, requires_grad, hooks)``, and for that with a state."""

    __slots__ = ()

    def __call__(self, data: object, *_: object) -> object:
        return data


class _Unpickler(pickle.Unpickler):
    """An unpickler that looks no name up. ``widths``: bytes per number of each storage that was found, by its key."""

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="utf-8", errors="replace")
        self.widths: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_qtensor"):
            return _RebuildTensor()
        if (module, name) == ("torch._utils", "_rebuild_tensor_v3"):
            return _RebuildTyped()
        if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return _RebuildParameter()
        if (module, name) == ("torch._tensor", "_rebuild_from_type_v2"):
            return _RebuildSubclass()
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _StorageName(name)
        return type("Inert", (_Inert,), {})

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        kind, storage, key, _, _, *view = pid
        if kind != "storage" or not isinstance(storage, _StorageName) or (view and view[0] is not None):
            raise pickle.UnpicklingError(f"a storage of an unknown kind ({kind}, {storage})")
        self.widths[str(key)] = STORAGES[storage.name][2]
        return storage.name, str(key)


def _scan_zip(path: Path) -> tuple[Any, dict[str, tuple[int, int]]]:
    """Return the unpickled root, and (start, length) in bytes of each storage in the file."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise BrokenCheckpoint(
                f"{path} is a zip archive that was not saved by torch. If it contains a checkpoint, unpack it first."
            )
        root = roots[0]
        if f"{root}constants.pkl" in names:
            raise UnsupportedCheckpoint(f"{path} is a TorchScript program. {choose()}")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise UnsupportedCheckpoint(f"{path} was saved on a big-endian machine. Convert it to safetensors.")
        starts = {}
        for record in archive.infolist():
            if record.filename.startswith(f"{root}data/"):
                if record.compress_type != zipfile.ZIP_STORED:
                    raise BrokenCheckpoint(f"{path} was repacked with compression. Download the original file.")
                file.seek(record.header_offset + 26)
                name_length, extra_length = struct.unpack("<HH", file.read(4))
                start = record.header_offset + 30 + name_length + extra_length
                starts[record.filename.removeprefix(f"{root}data/")] = (start, record.file_size)
        with archive.open(f"{root}data.pkl") as pickled:
            return _Unpickler(pickled).load(), starts


def _scan_stream(file: IO[bytes]) -> tuple[Any, dict[str, tuple[int, int]]]:
    """Scan the older format, like ``_scan_zip``; ``file`` is positioned after the magic number."""
    if _Unpickler(file).load() != 1001:
        raise pickle.UnpicklingError("an unknown version of torch's file format")
    if _Unpickler(file).load().get("little_endian") is False:
        raise pickle.UnpicklingError("saved on a big-endian machine")
    unpickler = _Unpickler(file)
    root, widths = unpickler.load(), unpickler.widths
    starts = {}
    for key in map(str, _Unpickler(file).load()):
        (numbers,) = struct.unpack("<q", file.read(8))
        if key not in widths or numbers < 0:
            raise pickle.UnpicklingError(f"storage {key} belongs to no tensor")
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
    return tensors, frozenset(others)
