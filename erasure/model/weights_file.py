"""Reads a weights file, ``.safetensors`` or ``.ckpt``: its header, and its tensors on demand.

It does not use ``torch.load``, because web UIs replace that with a version that renames or refuses a user's file when
anything goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from erasure import safetensors_file
from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.families.known import FAMILIES, choose
from erasure.model import pickle_file
from erasure.model.pickle_program import PickledTensor
from erasure.model.plain_names import plain_names
from erasure.regular_file import regular_size
from erasure.safetensors_file import DamagedFile, read_header, refuse_impostor

if TYPE_CHECKING:
    import torch

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
UNFINISHED = (".part", ".crdownload", ".download", ".aria2", ".tmp")
SMALL_FLOATS = ("F8_E4M3", "F8_E5M2")  # of 8 bits; torch can only convert them
FLOATS = ("F16", "BF16", "F32", "F64", *SMALL_FLOATS)


@dataclass(frozen=True)
class WeightsFile:
    """The header of a weights file.

    ``shapes`` and ``dtypes`` (safetensors' names, such as ``F16``) by tensor name; ``metadata``: the texts in a
    safetensors header; ``others``: names of what is not a tensor at the top level of a pickle; ``stored``: the name in
    the file of every tensor, see :func:`erasure.model.plain_names.plain_names`.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    others: frozenset[str] = frozenset()
    pickled: Mapping[str, PickledTensor] | None = None  # by the name in the file; None: a safetensors file
    stored: Mapping[str, str] = field(default_factory=dict)

    @property
    def wrapped(self) -> bool:
        """Whether some names in the file have more to them."""
        return any(name != stored for name, stored in self.stored.items())


def open_weights(path: Path) -> WeightsFile:
    """Read the header of a file.

    Raises: BrokenCheckpoint if it is missing or damaged; UnsupportedCheckpoint if it is no kind of file that we know.
    """
    if not path.exists():
        raise BrokenCheckpoint(f"There is no checkpoint at {path}. Check the path.")
    suffix = path.suffix.lower()
    if suffix in UNFINISHED:
        raise BrokenCheckpoint(f"{path} is an unfinished download. Wait until it is complete, or download it again.")
    if suffix == ".gguf":
        raise UnsupportedCheckpoint(
            f"{path} is a GGUF file, whose weights are packed (quantised). Choose the fp16 or fp32 version of it."
        )
    if suffix not in (".safetensors", *PICKLES):
        raise UnsupportedCheckpoint(
            f"{path} has an unknown extension. Give a .safetensors or .ckpt file, or a diffusers folder."
        )
    try:
        return _plain(_open_safetensors(path) if suffix == ".safetensors" else _open_pickle(path))
    except DamagedFile as error:
        raise BrokenCheckpoint(f"{path} is {error.what}. {error.advice}") from error


def read_tensors(weights: WeightsFile, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Read the named tensors, on the CPU, as stored, but 8-bit floats as fp32.

    Raises: BrokenCheckpoint if a value is not finite.
    """
    stored = {weights.stored.get(name, name): name for name in names}
    if weights.pickled is not None:
        read = pickle_file.read(weights.path, {name: weights.pickled[name] for name in stored})
    else:
        try:
            read = safetensors_file.read_tensors(weights.path, stored)
        except DamagedFile as error:
            raise BrokenCheckpoint(f"{weights.path} is {error.what}. {error.advice}") from error
    tensors = {}
    for inside, name in stored.items():
        tensor = read.pop(inside)
        # Torch computes nothing in 8-bit floats, not even whether they are finite.
        tensors[name] = tensor = tensor.float() if weights.dtypes[name] in SMALL_FLOATS else tensor
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BrokenCheckpoint(
                f"{weights.path} is damaged: {name} has values that are not finite (NaN or infinite). "
                "A merge may have gone wrong; use another copy of the model."
            )
    return tensors


def _plain(weights: WeightsFile) -> WeightsFile:
    """Return the same header by plain names."""
    stored = plain_names(weights.shapes, [family.parts.unet for family in FAMILIES])
    shapes = {name: weights.shapes[inside] for name, inside in stored.items()}
    dtypes = {name: weights.dtypes[inside] for name, inside in stored.items()}
    return replace(weights, shapes=shapes, dtypes=dtypes, stored=stored)


def _open_pickle(path: Path) -> WeightsFile:
    regular_size(path)
    with path.open("rb") as file:
        start = file.read(64)
    refuse_impostor(start)
    if start[8:10] == b'{"':
        raise DamagedFile("a safetensors file with the wrong extension", f"Rename it to {path.stem}.safetensors.")
    tensors, others = pickle_file.scan(path)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    return WeightsFile(path, shapes, dtypes, others=others, pickled=tensors)


def _open_safetensors(path: Path) -> WeightsFile:
    header = read_header(path)
    if not header.shapes:
        raise BrokenCheckpoint(f"{path} contains no weights. {choose()}")
    return WeightsFile(path, header.shapes, header.dtypes, header.metadata)
