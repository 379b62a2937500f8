"""Conditionings in a saved state: by number, each field as a tensor of its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from erasure.model.conditioning import Conditioning

# Of earlier versions, which numbered the fields, or knew of one alone.
_FIELDS = {"": "states", "0": "states", "1": "pooled"}


def saved_conditionings(prefix: str, known: Mapping[int, Conditioning]) -> dict[str, Tensor]:
    """Return copies of batches of one as ``<prefix>.<number>.<field>``."""
    return {
        f"{prefix}.{number}.{field}": tensor[0].clone()
        for number, one in known.items()
        for field, tensor in one.named.items()
    }


def read_conditionings(tensors: Mapping[str, Tensor]) -> dict[int, Conditioning]:
    """Undo :func:`saved_conditionings`."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        _, number, *field = name.split(".")
        key = "".join(field)
        found.setdefault(int(number), {})[_FIELDS.get(key, key)] = tensor[None]
    return {number: Conditioning(**fields) for number, fields in found.items()}
