"""Several LoRA files, each at a weight, together: as one LoRA, or what they add to one layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from erasure.errors import LoraFileError
from erasure.lora.file import LoraFile
from erasure.lora.fit import bare
from erasure.lora.kind import DOWN, UP


def check_one_model(files: Iterable[LoraFile]) -> None:
    """Check that the files are for models of one family, with layers of the same sizes where both change one.

    Raises: LoraFileError that names the two files and the layer.
    """
    sizes: dict[str, tuple[LoraFile, tuple[int, ...]]] = {}
    first: LoraFile | None = None
    for file in files:
        first = first or file
        if file.family.name != first.family.name:
            raise LoraFileError(
                f"{first.path.name} is for {first.family.name}, {file.path.name} for {file.family.name}; they cannot "
                "be one file"
            )
        for module in file.modules:
            size = _size(file, module)
            other, known = sizes.setdefault(module, (file, size))
            if size != known:
                raise LoraFileError(
                    f"{other.path.name} and {file.path.name} are for models of different sizes: {module} is "
                    f"{_by(known)} in the one and {_by(size)} in the other; combine files of one base"
                )


def merge_loras(files: Sequence[tuple[LoraFile, float]]) -> LoraFile:
    """Return one LoRA with the effect of several (at least one), each at its weight, together.

    Their ranks are concatenated, and scales and weights are multiplied into ``up``.
    """
    parts: dict[str, list[torch.Tensor]] = {}
    for file, weight in files:
        for module in file.modules:
            down, up, scale = file.weights(module)
            for part, tensor in ((DOWN, down.float()), (UP, up.float() * (scale * weight))):
                parts.setdefault(f"{module}.{part}", []).append(tensor.reshape(bare(tuple(tensor.shape))))
    state = {key: torch.cat(tensors, dim=0 if key.endswith(DOWN) else 1) for key, tensors in parts.items()}
    names = " + ".join(file.path.name for file, _ in files)
    return LoraFile(Path(names), files[0][0].family, state, {}, {}, torch.float32)


def summed_change(
    files: Sequence[tuple[LoraFile, float]], module: str, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return what several LoRAs, each at its weight, together add to the weights of one layer, as two factors.

    ``module``: as in the files, ``lora_unet_conv_in``. The change is ``up @ down`` with ``up`` (out, R) and ``down``
    (R, in * k * k), R being the sum of their ranks; scales and weights are in both. None if no file changes the layer.
    Raises: ValueError if they are for layers of different sizes.
    """
    ups, downs = [], []
    for file, weight in files:
        if f"{module}.{DOWN}" not in file.state:
            continue
        down, up, scale = file.weights(module)
        for_up, for_down = _shared(scale * weight)
        downs.append(down.to(dtype).flatten(1) * for_down)
        ups.append(up.to(dtype).flatten(1) * for_up)
    if not ups:
        return None
    if len({(up.shape[0], down.shape[1]) for up, down in zip(ups, downs, strict=True)}) > 1:
        raise ValueError(f"the files are for layers {module} of different sizes")
    return torch.cat(ups, dim=1), torch.cat(downs)


def _shared(factor: float) -> tuple[float, float]:
    """Return two factors with this product, of which the second is a power of two, and both about as large.

    Powers of two leave the digits of a number as they are; and a small factor on one side alone would push its numbers
    out of the range of half precision.
    """
    power = 2.0 ** round(math.frexp(factor)[1] / 2) if factor and math.isfinite(factor) else 1.0
    return factor / power, power


def _size(file: LoraFile, module: str) -> tuple[int, ...]:
    """Return the size of a layer's weights as one matrix: rows, and all else flattened."""
    down, up = file.state[f"{module}.{DOWN}"], file.state[f"{module}.{UP}"]
    return up.shape[0], math.prod(down.shape[1:])


def _by(size: tuple[int, ...]) -> str:
    return " by ".join(map(str, size))
