"""The layers of a checkpoint's text encoders that LoRA files know, told by the names and shapes in its headers.

They are the linear ones inside of a layer of the transformer. Files of the original layout name them as transformers
does or, of Stable Diffusion 2 and of SDXL's second text encoder, as OpenCLIP, which has one matrix (3 d, d) for
queries, keys and values: each has a third of its rows, in this order (torch's ``nn.MultiheadAttention``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from erasure.families.family import TextEncoder
from erasure.model.checkpoint import CheckpointInfo, OriginalFile
from erasure.model.model_layers import LayerPlace, ModelLayers
from erasure.model.weights_file import FLOATS, WeightsFile

_TRANSFORMERS = re.compile(
    r"(?:text_model\.)?encoder\.layers\.(\d{1,4})\.(self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])\.weight"
)
_OPEN_CLIP = re.compile(
    r"transformer\.resblocks\.(\d{1,4})\.(attn\.in_proj_|attn\.out_proj\.|mlp\.c_(?:fc|proj)\.)weight"
)
_OPEN_CLIP_NAMES = {
    "attn.in_proj_": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.out_proj.": ("self_attn.out_proj",),
    "mlp.c_fc.": ("mlp.fc1",),
    "mlp.c_proj.": ("mlp.fc2",),
}


@dataclass(frozen=True)
class _Found:
    """One layer: its number in the transformer, its name there, its shape, and where it is but for its path."""

    number: int
    inside: str
    shape: tuple[int, ...]
    file: WeightsFile
    name: str
    rows: tuple[int, int] | None = None


def text_layers(info: CheckpointInfo) -> ModelLayers:
    """Return the layers of a checkpoint's text encoders; none of layers that are left out when it is opened."""
    shapes: dict[str, tuple[int, ...]] = {}
    places = []
    for encoder in info.family.text_encoders:
        every = list(_found(info, encoder))
        skipped = info.contents.config.skipped_layers if isinstance(info.contents, OriginalFile) else 0
        kept = max((found.number + 1 for found in every), default=0) - skipped
        for found in every:
            path = f"{encoder.part}.encoder.layers.{found.number}.{found.inside}"
            # A file may have one layer by both of its names.
            if found.number < kept and shapes.setdefault(path, found.shape) == found.shape:
                file, name = found.file, found.name
                stored, dtype = file.stored.get(name, name), file.dtypes[name]
                places.append(LayerPlace(path, file, stored, dtype, rows=found.rows))
    return ModelLayers(shapes, tuple(places))


def _found(info: CheckpointInfo, encoder: TextEncoder) -> Iterator[_Found]:
    if not isinstance(info.contents, OriginalFile):
        for file in info.contents.weights[encoder.part]:
            yield from _by_transformers(file, "")
    elif encoder.layout == "openclip":
        yield from _by_open_clip(info.contents.weights, encoder.prefix)
    else:
        yield from _by_transformers(info.contents.weights, encoder.prefix)


def _by_transformers(file: WeightsFile, prefix: str) -> Iterator[_Found]:
    for name, match in _matching(file, prefix, _TRANSFORMERS):
        yield _Found(int(match[1]), match[2], _matrix(file.shapes[name]), file, name)


def _by_open_clip(file: WeightsFile, prefix: str) -> Iterator[_Found]:
    for name, match in _matching(file, prefix, _OPEN_CLIP):
        rows, columns = _matrix(file.shapes[name])
        inside = _OPEN_CLIP_NAMES[match[2]]
        if len(inside) == 1:
            yield _Found(int(match[1]), inside[0], (rows, columns), file, name)
        elif rows == len(inside) * columns:
            for third, each in enumerate(inside):
                part = third * columns, (third + 1) * columns
                yield _Found(int(match[1]), each, (columns, columns), file, name, part)


def _matching(file: WeightsFile, prefix: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, re.Match[str]]]:
    for name, shape in file.shapes.items():
        match = pattern.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if match is not None and shape and file.dtypes[name] in FLOATS:
            yield name, match


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], prod(shape[1:])
