"""Follows a pickle without running it, in bounded time and memory.

A pickle is a program for a small machine with a stack and numbered memory; some of its instructions call any function
by its name. Python's own machine trusts the program: it makes room for as many numbers as the program claims to need,
calls what it names, and hashes keys that nest so deep that the interpreter crashes. This one knows the containers, and
the descriptions of tensors that torch writes (``torch._utils._rebuild_tensor_v2`` and its kin, and persistent ids of
storages);
everything else becomes ``INERT``. It reads a few million bytes, makes a million steps, and then gives up: a Stable
Diffusion checkpoint with the state of its optimizer takes a tenth of that.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Final

MOST_BYTES = 32_000_000
MOST_STEPS = 1_000_000
_LONGEST_LINE = 4096  # of names and numbers written as text
_MOST_DIMENSIONS = 64  # as in torch
_LARGEST = 2**63  # torch counts numbers in 64 bits

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
    # Number types that have no storage class of their own: the tensor's number type stands for it.
    "float8_e4m3fn": ("F8_E4M3", "float8_e4m3fn", 1),
    "float8_e5m2": ("F8_E5M2", "float8_e5m2", 1),
    "float8_e4m3fnuz": ("F8_E4M3FNUZ", "float8_e4m3fnuz", 1),
    "float8_e5m2fnuz": ("F8_E5M2FNUZ", "float8_e5m2fnuz", 1),
    "uint16": ("U16", "uint16", 2),
    "uint32": ("U32", "uint32", 4),
    "uint64": ("U64", "uint64", 8),
}


class BadPickle(ValueError):
    """The program is damaged, too long, or asks for what no weights file needs."""


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


class _Mark:
    """One of the few objects that the machine itself puts on its stack."""

    def __init__(self, name: str):
        self.name = name


INERT: Final = _Mark("an object that does nothing")
_BOTTOM, _TABLE = map(_Mark, ("mark", "OrderedDict"))
_TENSOR, _TYPED = map(_Mark, ("_rebuild_tensor_v2", "_rebuild_tensor_v3"))
_PARAMETER, _SUBCLASS = map(_Mark, ("_rebuild_parameter", "_rebuild_from_type_v2"))
_CALLS = {
    ("collections", "OrderedDict"): _TABLE,
    ("torch._utils", "_rebuild_tensor"): _TENSOR,
    ("torch._utils", "_rebuild_tensor_v2"): _TENSOR,
    ("torch._utils", "_rebuild_qtensor"): _TENSOR,
    ("torch._utils", "_rebuild_tensor_v3"): _TYPED,
    ("torch._utils", "_rebuild_parameter"): _PARAMETER,
    ("torch._utils", "_rebuild_parameter_with_state"): _PARAMETER,
    ("torch._tensor", "_rebuild_from_type_v2"): _SUBCLASS,
}


@dataclass(frozen=True)
class _StorageName:
    """Stands for a storage class, or for a number type."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """Stands for a storage: its class and its key."""

    name: str
    key: str


class BoundedReader:
    """A file of which only ``most`` bytes are given in all, and never room made for more.

    ``left``: bytes that may still be read. ``seek`` and ``tell`` are the file's own. What goes beyond raises BadPickle.
    """

    def __init__(self, file: IO[bytes], most: int = MOST_BYTES):
        self._file, self.left = file, most
        self.tell, self.seek, self.seekable = file.tell, file.seek, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self.left:
            raise BadPickle("it asks for more memory than any weights file needs")
        data = self._file.read(self.left + 1 if size < 0 else size)
        if len(data) > self.left:
            raise BadPickle("it has more to read than any weights file")
        self.left -= len(data)
        return data

    def readline(self) -> bytes:
        line = self._file.readline(min(_LONGEST_LINE, self.left))
        if not line.endswith(b"\n"):
            raise BadPickle("it has a line that does not end")
        self.left -= len(line)
        return line


def follow(file: BoundedReader, steps: int = MOST_STEPS) -> tuple[Any, dict[str, int]]:
    """Follow the program to its end, and return what it made and bytes per number of each storage, by its key.

    Made of: dict, list, tuple, PickledTensor (with ``start`` -1), texts, bytes, numbers, None, and INERT for all else.
    Keys of a dict are texts and whole numbers; entries with another key are left out, but for one with the key INERT.
    Raises: BadPickle, and ValueError or IndexError if the program is damaged.
    """
    machine = _Machine()
    for number, (instruction, argument, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
        if number + machine.work > steps:
            raise BadPickle(f"it takes more than {steps:,} steps")
        machine.step(instruction.name, argument)
    return machine.stack.pop(), machine.widths


class _Machine:
    """Stack and memory of a program. ``work``: steps that one instruction takes beyond the first."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.widths: dict[str, int] = {}
        self.work = 0

    def step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _MAKERS:
            self.stack.append(_MAKERS[name]())
        elif name in _TUPLES:
            self.stack.append(self._pop(_TUPLES[name]))
        elif name in _METHODS:
            _METHODS[name](self, argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise BadPickle(f"it has the instruction {name}, which torch does not write")

    def _pop(self, count: int) -> tuple[Any, ...]:
        """Take the last ``count`` values off the stack."""
        if count > len(self.stack):
            raise BadPickle("it takes more from its stack than there is")
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return values

    def _to_mark(self) -> tuple[Any, ...]:
        """Take all values above the last mark off the stack, and the mark itself."""
        place = next((place for place in range(len(self.stack) - 1, -1, -1) if self.stack[place] is _BOTTOM), None)
        if place is None:
            raise BadPickle("it lacks a mark")
        values = self._pop(len(self.stack) - place)[1:]
        self.work += len(values)
        return values

    def _put(self, place: Any) -> None:
        self.memory[int(place)] = self.stack[-1]

    def _get(self, place: Any) -> None:
        if int(place) not in self.memory:
            raise BadPickle("it reads memory that it has not written")
        self.stack.append(self.memory[int(place)])

    def _name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_name(module, name)

    def _name_on_stack(self, _: Any) -> None:
        self._push_name(*self._pop(2))

    def _push_name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise BadPickle("it has a name that is no text")
        if module in ("torch", "torch.storage") and name in STORAGES:
            self.stack.append(_StorageName(name))
        else:
            self.stack.append(_CALLS.get((module, name), INERT))

    def _call(self, _: Any) -> None:
        function, arguments = self._pop(2)
        self.stack.append(self._result(function, arguments))

    def _call_with_names(self, _: Any) -> None:
        function, arguments, _ = self._pop(3)
        self.stack.append(self._result(function, arguments))

    def _result(self, function: Any, arguments: Any) -> Any:
        if function not in (_TABLE, _TENSOR, _TYPED, _PARAMETER, _SUBCLASS):
            return INERT
        if not isinstance(arguments, tuple):
            raise BadPickle("it calls a function without a list of arguments")
        if function is _SUBCLASS:
            function, _, arguments = arguments[:3] if len(arguments) >= 3 else (INERT,) * 3
            return self._result(function, arguments) if function in (_TENSOR, _TYPED, _PARAMETER) else INERT
        if function in (_TENSOR, _TYPED):
            tensor = _tensor(arguments) if function is _TENSOR else _typed_tensor(arguments)
            self.work += len(tensor.shape)
            return tensor
        if function is _PARAMETER:
            return arguments[0] if arguments else INERT
        table: dict[Any, Any] = {}
        pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
        self.work += len(pairs)
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise BadPickle("it makes a table of something else than pairs")
            _enter(table, *pair)
        return table

    def _persistent(self, _: Any) -> None:
        storage = _storage(self.stack.pop())
        self.widths[storage.key] = STORAGES[storage.name][2]
        self.stack.append(storage)

    def _build(self, _: Any) -> None:
        self._pop(1)  # attributes of the object below: nothing here has any

    def _set(self, _: Any) -> None:
        key, value = self._pop(2)
        self._set_all((key, value))

    def _set_to_mark(self, _: Any) -> None:
        self._set_all(self._to_mark())

    def _set_all(self, values: tuple[Any, ...]) -> None:
        if len(values) % 2:
            raise BadPickle("it has a key without a value")
        table = self.stack[-1]
        if isinstance(table, dict):
            for key, value in zip(values[::2], values[1::2], strict=True):
                _enter(table, key, value)

    def _append(self, _: Any) -> None:
        self._append_all(self._pop(1))

    def _append_to_mark(self, _: Any) -> None:
        self._append_all(self._to_mark())

    def _append_all(self, values: tuple[Any, ...]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def _dict_to_mark(self, _: Any) -> None:
        values = self._to_mark()
        self.stack.append({})
        self._set_all(values)

    def _list_to_mark(self, _: Any) -> None:
        self.stack.append(list(self._to_mark()))

    def _tuple_to_mark(self, _: Any) -> None:
        self.stack.append(self._to_mark())

    def _inert_to_mark(self, _: Any) -> None:
        self._to_mark()
        self.stack.append(INERT)

    def _drop_to_mark(self, _: Any) -> None:
        self._to_mark()

    def _drop(self, _: Any) -> None:
        self._pop(1)

    def _double(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _memoize(self, _: Any) -> None:
        self._put(len(self.memory))


def _enter(table: dict[Any, Any], key: Any, value: Any) -> None:
    # Nothing else is hashed: that takes time without end for tuples that share their parts.
    plain = isinstance(key, str) or (type(key) is int and abs(key) < _LARGEST)
    table[key if plain else INERT] = value


def _storage(pid: Any) -> _Storage:
    """Return the storage of a persistent id: ("storage", class, key, device, numbers), and in old files a view."""
    if not isinstance(pid, tuple) or not 5 <= len(pid) <= 6 or (len(pid) == 6 and pid[5] is not None):
        raise BadPickle("it has a storage of an unknown kind")
    kind, storage, key = pid[:3]
    if kind != "storage" or not isinstance(storage, _StorageName):
        raise BadPickle("it has a storage of an unknown kind")
    if not isinstance(key, str) and not _is_count(key):
        raise BadPickle("it has a storage with an unknown name")
    return _Storage(storage.name, str(key))


def _tensor(arguments: tuple[Any, ...]) -> PickledTensor:
    """Return the tensor of ``_rebuild_tensor_v2(storage, offset, size, stride, ...)``."""
    storage, offset, size, stride = arguments[:4] if len(arguments) >= 4 else (None,) * 4
    if not isinstance(storage, _Storage):
        raise BadPickle("it has a tensor without a storage")
    sound = isinstance(size, (list, tuple)) and isinstance(stride, (list, tuple)) and len(size) == len(stride)
    if not sound or len(size) > _MOST_DIMENSIONS or not all(map(_is_count, (offset, *size, *stride))):
        raise BadPickle("it has a tensor whose shape is none")
    return PickledTensor(storage.name, storage.key, -1, offset, tuple(size), tuple(stride))


def _typed_tensor(arguments: tuple[Any, ...]) -> PickledTensor:
    """Return the tensor of ``_rebuild_tensor_v3(storage, offset, size, stride, gradient, hooks, type, ...)``."""
    storage, kind = (arguments[0], arguments[6]) if len(arguments) >= 7 else (None, None)
    if not isinstance(storage, _Storage) or not isinstance(kind, _StorageName):
        raise BadPickle("it has a tensor of an unknown type")
    return _tensor((_Storage(kind.name, storage.key), *arguments[1:4]))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


_CONSTANTS: Final[dict[str, Any]] = {
    **{"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _BOTTOM, "EMPTY_TUPLE": ()},
    **dict.fromkeys(("EMPTY_SET", "EXT1", "EXT2", "EXT4"), INERT),
}
_MAKERS: Final[dict[str, Callable[[], Any]]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list}
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_LITERALS: Final = frozenset(
    (
        *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_METHODS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._get),
    "MEMOIZE": _Machine._memoize,
    "GLOBAL": _Machine._name,
    "STACK_GLOBAL": _Machine._name_on_stack,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine._call),
    "NEWOBJ_EX": _Machine._call_with_names,
    **dict.fromkeys(("INST", "OBJ", "FROZENSET"), _Machine._inert_to_mark),
    "BINPERSID": _Machine._persistent,
    "BUILD": _Machine._build,
    "SETITEM": _Machine._set,
    "SETITEMS": _Machine._set_to_mark,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._append_to_mark,
    **dict.fromkeys(("ADDITEMS", "POP_MARK"), _Machine._drop_to_mark),
    "DICT": _Machine._dict_to_mark,
    "LIST": _Machine._list_to_mark,
    "TUPLE": _Machine._tuple_to_mark,
    "POP": _Machine._drop,
    "DUP": _Machine._double,
}
