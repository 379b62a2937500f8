"""The layers of a checkpoint's U-Net, and where their weights are in its files, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from erasure.model.checkpoint import CheckpointInfo, OriginalFile
from erasure.model.weights_file import WeightsFile


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


@dataclass(frozen=True)
class UnetLayers:
    """``shapes``: of the weights of the layers that a LoRA can change, by module path, as
    :func:`erasure.lora.adapter.layer_shapes` returns them. ``places``: every place in the files where a weight of a
    layer is; where there are plain and averaged weights, those of both.
    """

    shapes: Mapping[str, tuple[int, ...]]
    places: tuple[LayerPlace, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; of the files, their paths."""
        return {
            "shapes": {layer: list(shape) for layer, shape in self.shapes.items()},
            "places": [
                [place.layer, str(place.file.path), place.name, place.dtype, place.averaged] for place in self.places
            ],
        }

    @staticmethod
    def from_dict(told: Mapping[str, Any], info: CheckpointInfo) -> UnetLayers:
        """Return what :meth:`to_dict` told of a checkpoint. Raises: KeyError if it is of other files."""
        files = {str(file.path): file for file in unet_files(info)}
        return UnetLayers(
            {layer: tuple(shape) for layer, shape in told["shapes"].items()},
            tuple(
                LayerPlace(layer, files[path], name, dtype, averaged)
                for layer, path, name, dtype, averaged in told["places"]
            ),
        )


def unet_files(info: CheckpointInfo) -> tuple[WeightsFile, ...]:
    """Return the files that hold weights of the U-Net, each once."""
    folder = info.contents
    if isinstance(folder, OriginalFile):
        return (folder.weights,)
    files = (*folder.weights["unet"], *folder.averaged_unet, *folder.plain_unet)
    return tuple({file.path: file for file in files}.values())
