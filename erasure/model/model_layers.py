"""The layers of a checkpoint that a LoRA can change, and where their weights are in its files, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from erasure.model.checkpoint import CheckpointInfo, OriginalFile
from erasure.model.weights_file import WeightsFile


@dataclass(frozen=True)
class LayerPlace:
    """The weight of one layer in one file.

    ``layer``: the module path, in the U-Net or behind the name of a text encoder's part
    (``text_encoder.encoder.layers.0.mlp.fc1``); ``name``: of the tensor in the file, as it is stored there; ``dtype``:
    safetensors' name of its number type. ``averaged``: whether it is of the averaged (EMA) weights that lie beside
    plain ones. ``rows``: the first of the tensor's rows and the one after the last, if only these are the layer's.
    """

    layer: str
    file: WeightsFile
    name: str
    dtype: str
    averaged: bool = False
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class ModelLayers:
    """``shapes``: of the weights of the layers that a LoRA can change, by module path, as
    :func:`erasure.lora.model_adapter.model_shapes` returns them, but for a ``text_model.`` in a text encoder's paths,
    which only some versions of transformers have. ``places``: every place in the files where a weight of a layer is;
    where there are plain and averaged weights, those of both.
    """

    shapes: Mapping[str, tuple[int, ...]]
    places: tuple[LayerPlace, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; of the files, their paths."""
        return {
            "shapes": {layer: list(shape) for layer, shape in self.shapes.items()},
            "places": [
                [place.layer, str(place.file.path), place.name, place.dtype, place.averaged, place.rows]
                for place in self.places
            ],
        }

    @staticmethod
    def from_dict(told: Mapping[str, Any], info: CheckpointInfo) -> ModelLayers:
        """Return what :meth:`to_dict` told of a checkpoint. Raises: KeyError if it is of other files."""
        files = {str(file.path): file for file in (*unet_files(info), *text_files(info))}
        return ModelLayers(
            {layer: tuple(shape) for layer, shape in told["shapes"].items()},
            tuple(
                LayerPlace(layer, files[path], name, dtype, averaged, None if rows is None else (rows[0], rows[1]))
                for layer, path, name, dtype, averaged, rows in told["places"]
            ),
        )


def unet_files(info: CheckpointInfo) -> tuple[WeightsFile, ...]:
    """Return the files that hold weights of the U-Net, each once."""
    folder = info.contents
    if isinstance(folder, OriginalFile):
        return (folder.weights,)
    files = (*folder.weights["unet"], *folder.averaged_unet, *folder.plain_unet)
    return tuple({file.path: file for file in files}.values())


def text_files(info: CheckpointInfo) -> tuple[WeightsFile, ...]:
    """Return the files that hold weights of text encoders."""
    folder = info.contents
    if isinstance(folder, OriginalFile):
        return (folder.weights,)
    return tuple(file for encoder in info.family.text_encoders for file in folder.weights[encoder.part])
