"""Where the weights of the U-Net's layers are in a checkpoint's files, from headers alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel

from erasure.model.build_parts import build_unet, empty_unet_from_ldm, fill
from erasure.model.checkpoint import EMA, CheckpointInfo, OriginalFile, unet_names
from erasure.model.weights_file import FLOATS, WeightsFile


@dataclass(frozen=True)
class LayerPlace:
    """The weight of one layer in one file.

    ``layer``: the module path in the U-Net; ``name``: in the file, as it is stored there; ``dtype``: safetensors' name
    of its number type. ``averaged``: whether it is of the averaged (EMA) weights that lie beside plain ones.
    """

    layer: str
    file: WeightsFile
    name: str
    dtype: str
    averaged: bool = False


def empty_unet(info: CheckpointInfo) -> tuple[UNet2DConditionModel, list[LayerPlace]]:
    """Return the checkpoint's U-Net without memory, and every place in its files where a weight of a layer is.

    Where there are plain and averaged weights, those of both are among the places. Raises: BrokenCheckpoint if a weight
    is missing or has another shape than the configuration says.
    """
    if isinstance(info.contents, OriginalFile):
        weights, config = info.contents.weights, info.contents.config
        names = [name for name in unet_names(weights, info.family) if weights.dtypes[name] in FLOATS]
        shapes = {name: weights.shapes[name] for name in names}
        origin = f"{weights.path} (configuration {config.path.name})"
        unet, originals = empty_unet_from_ldm(config.document, shapes, config.latent_side, origin)
        return unet, list(_in_one_file(weights, originals))
    folder = info.contents
    shapes = {name: shape for file in folder.weights["unet"] for name, shape in file.shapes.items()}
    empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    unet = fill(build_unet(folder.configs["unet"], str(folder.path)), empty, "U-Net", str(folder.path), [])
    # Those that diffusers loads may be averaged themselves: then the plain ones are those beside them.
    loaded = {file.path for file in folder.weights["unet"]}
    files = [(file, bool(folder.plain_unet)) for file in folder.weights["unet"]]
    files += [(file, True) for file in folder.averaged_unet if file.path not in loaded]
    files += [(file, False) for file in folder.plain_unet]
    return unet, [
        LayerPlace(name.removesuffix(".weight"), file, file.stored.get(name, name), file.dtypes[name], averaged)
        for file, averaged in files
        for name in file.shapes
        if name.endswith(".weight")
    ]


def _in_one_file(weights: WeightsFile, originals: dict[str, str]) -> Iterator[LayerPlace]:
    for name, original in originals.items():
        if not name.endswith(".weight"):
            continue
        layer = name.removesuffix(".weight")
        yield LayerPlace(layer, weights, weights.stored.get(original, original), weights.dtypes[original])
        # CompVis' names of averaged weights; whether all of them are there does not matter here.
        twin = EMA + original.removeprefix("model.").replace(".", "")
        if weights.shapes.get(twin) == weights.shapes[original] and weights.dtypes[twin] in FLOATS:
            yield LayerPlace(layer, weights, weights.stored.get(twin, twin), weights.dtypes[twin], averaged=True)
