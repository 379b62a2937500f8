"""Reads the layers off a checkpoint; its U-Net is built by diffusers, without memory, which names its weights.

diffusers and what it loads take some 150 MB, until the process ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from erasure.lora.layer_choice import layer_shapes
from erasure.model.build_parts import build_unet, empty_unet_from_ldm, fill
from erasure.model.checkpoint import EMA, CheckpointInfo, OriginalFile, unet_names
from erasure.model.model_layers import LayerPlace, ModelLayers
from erasure.model.text_layers import text_layers
from erasure.model.weights_file import FLOATS, WeightsFile


def layers_of(info: CheckpointInfo) -> ModelLayers:
    """Return the layers of a checkpoint that a LoRA can change, the U-Net's first.

    Raises: BrokenCheckpoint if a weight of the U-Net is missing or has another shape than the configuration says.
    """
    unet, text = _unet_layers(info), text_layers(info)
    return ModelLayers({**unet.shapes, **text.shapes}, (*unet.places, *text.places))


def _unet_layers(info: CheckpointInfo) -> ModelLayers:
    if isinstance(info.contents, OriginalFile):
        weights, config = info.contents.weights, info.contents.config
        names = [name for name in unet_names(weights, info.family) if weights.dtypes[name] in FLOATS]
        shapes = {name: weights.shapes[name] for name in names}
        origin = f"{weights.path} (configuration {config.path.name})"
        unet, originals = empty_unet_from_ldm(config.document, shapes, config.latent_side, origin)
        return ModelLayers(layer_shapes(unet), tuple(_in_one_file(weights, originals)))
    folder = info.contents
    shapes = {name: shape for file in folder.weights["unet"] for name, shape in file.shapes.items()}
    empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    unet = fill(build_unet(folder.configs["unet"], str(folder.path)), empty, "U-Net", str(folder.path), [])
    # Those that diffusers loads may be averaged themselves: then the plain ones are those beside them.
    loaded = {file.path for file in folder.weights["unet"]}
    files = [(file, bool(folder.plain_unet)) for file in folder.weights["unet"]]
    files += [(file, True) for file in folder.averaged_unet if file.path not in loaded]
    files += [(file, False) for file in folder.plain_unet]
    places = (
        LayerPlace(name.removesuffix(".weight"), file, file.stored.get(name, name), file.dtypes[name], averaged)
        for file, averaged in files
        for name in file.shapes
        if name.endswith(".weight")
    )
    return ModelLayers(layer_shapes(unet), tuple(places))


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
