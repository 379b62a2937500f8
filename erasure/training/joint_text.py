"""What several LoRAs together change in the text encoders, from where the edit of these goes on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from erasure.lora.combine import summed_change
from erasure.lora.file import read_lora
from erasure.lora.fit import match_lora, module_paths
from erasure.lora.model_adapter import model_layers, model_shapes
from erasure.lora.parent import Parent
from erasure.model.model import Model


def text_changes(model: Model, parents: Sequence[Parent]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return ``up`` (out, r) and ``down`` (r, in) of each text encoder's layer, by module path, float64 on the CPU.

    The sum of all parents at their weights: in the text encoders, an erasure changes little but what is said of its own
    concepts. Raises: LoraFileError if a parent does not fit the model.
    """
    modules = model.parts.modules
    files = [(read_lora(parent.path), parent.weight) for parent in parents]
    for file, _ in files:
        match_lora(file, model_shapes(modules))
    paths = module_paths(model_layers(modules), model.parts.info.family)
    changed = dict.fromkeys(key for file, _ in files for key in file.modules if is_of_text(model, paths[key]))
    found = {paths[key]: summed_change(files, key, torch.float64) for key in changed}
    return {path: change for path, change in found.items() if change is not None}


def is_of_text(model: Model, path: str) -> bool:
    """Whether a layer, by module path, is one of a text encoder."""
    return any(path.startswith(name + ".") for name in model.parts.modules if name)
