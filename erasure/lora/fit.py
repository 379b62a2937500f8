"""Whether a LoRA file fits a model, by the paths and shapes of its layers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from erasure.errors import IneffectiveLora, LoraFileError
from erasure.families.family import Family
from erasure.lora.file import SHOWN, LoraFile, module_key
from erasure.lora.kind import DOWN, UP

Shape = tuple[int, ...]


def module_paths(layers: Iterable[str], family: Family) -> dict[str, str]:
    """Return module key -> module path for every layer of a model that a LoRA can change.

    ``layers``: their module paths. A module key does not say which ``_`` was a ``.``; only the model's own paths do.
    Raises: ValueError if two layers have the same key.
    """
    paths: dict[str, str] = {}
    for path in layers:
        key = module_key(path, family)
        if key in paths:
            raise ValueError(f"the layers {paths[key]} and {path} would both be called {key} in a LoRA file")
        paths[key] = path
    return paths


def check_family(file: LoraFile, family: Family) -> None:
    """Raises: LoraFileError if the file says that it is for models of another family than this."""
    if file.told_family and file.family.name != family.name:
        raise LoraFileError(
            f"{file.path.name} is a LoRA for {file.family.name}, but the checkpoint is {family} model; choose a LoRA "
            f"for {family.name}, or the checkpoint that it was made from"
        )


def match_lora(file: LoraFile, layers: Mapping[str, Shape], family: Family | None = None) -> None:
    """Check that the file fits a model: every key has a layer, shapes match, values are finite and not all zero.

    ``layers``: the shapes of its layers' weights, as :func:`erasure.lora.model_adapter.model_shapes` returns them;
    ``family``: of the model, if it is known. Raises: LoraFileError with the problems; IneffectiveLora if the only one
    is that all values are zero.
    """
    if family is not None:
        check_family(file, family)
    paths = module_paths(layers, file.family)
    problems, effective = [], False
    for module in file.modules:
        down, up, scale = file.weights(module)
        if module not in paths:
            problems.append(f"{module}: the model has no such layer (unmatched key)")
            continue
        problems += _shape_problems(module, layers[paths[module]], down, up)
        if not (bool(down.isfinite().all()) and bool(up.isfinite().all()) and abs(scale) < float("inf")):
            problems.append(f"{module}: not all values are finite (NaN or infinite)")
        elif scale != 0 and bool(down.any()) and bool(up.any()):
            effective = True
    if problems:
        shown = "; ".join(problems[:SHOWN]) + ("; ..." if len(problems) > SHOWN else "")
        raise LoraFileError(f"{file.path.name} does not fit the model ({len(problems)} problems): {shown}")
    if not effective:
        raise IneffectiveLora(f"{file.path.name} changes nothing: each of its {len(file.modules)} layers is zero")


def factor_shapes(layer: Shape, rank: int) -> dict[str, Shape]:
    """Return the shapes of a LoRA's two parts for a layer with weights of this shape: (out, in[, k, k])."""
    return {DOWN: (rank, *layer[1:]), UP: (layer[0], rank, *(1 for _ in layer[2:]))}


def bare(shape: Shape) -> Shape:
    """Return a shape of weights without the sides of a 1x1 kernel.

    A linear layer and a convolution of 1x1 are the same to a LoRA, and programs write the one for the other: kohya's
    scripts train the projections of a Stable Diffusion 2.x in one file as convolutions.
    """
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _shape_problems(module: str, layer: Shape, down: Tensor, up: Tensor) -> list[str]:
    wanted = factor_shapes(layer, down.shape[0])
    return [
        f"{module}: {part} has the wrong shape {tuple(tensor.shape)}, the layer needs {wanted[part]}"
        for part, tensor in ((DOWN, down), (UP, up))
        if bare(tuple(tensor.shape)) != bare(wanted[part])
    ]
