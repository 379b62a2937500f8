"""All tensors that an object holds, however deep, by the way to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

_PLAIN = (str, bytes, int, float, bool, type(None), type)


def tensors_of(thing: Any, way: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    """``(way, tensor)``; goes through attributes, slots, containers, modules and generator-free objects."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, _PLAIN):
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield way, thing
        if thing.grad is not None:
            yield f"{way}.grad", thing.grad
        return
    if isinstance(thing, nn.Module):
        for name, tensor in [*thing.named_parameters(), *thing.named_buffers()]:
            yield from tensors_of(tensor, f"{way}.{name}", seen)
        return
    if isinstance(thing, Mapping):
        # An optimizer's state has tensors for keys.
        names = [f"[tensor {i}]" if isinstance(key, Tensor) else f"[{key!r}]" for i, key in enumerate(thing)]
        parts = [*zip(names, thing.values(), strict=True), *zip([f"{name}(key)" for name in names], thing, strict=True)]
    elif isinstance(thing, (list, tuple, set, frozenset)):
        parts = [(f"[{i}]", value) for i, value in enumerate(thing)]
    else:
        parts = [(f".{name}", value) for name, value in getattr(thing, "__dict__", {}).items()]
    for name, value in parts:
        yield from tensors_of(value, way + name, seen)
