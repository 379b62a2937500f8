"""The adapter on a whole model: on its U-Net, and on its text encoders if a LoRA changes these, too.

A model's modules are given by name, the U-Net as ``""`` and a text encoder by the name of its part in the diffusers
layout (``text_encoder``), as :attr:`erasure.model.parts.ModelParts.modules` returns them. A layer's path begins with
that name: ``text_encoder.encoder.layers.0.mlp.fc1``. :mod:`erasure.lora.adapter` does the same for one module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from erasure.errors import LoraFileError
from erasure.lora.adapter import ADAPTER, inject_lora_state, load_lora_state, lora_layers, lora_state, remove_lora
from erasure.lora.file import SHOWN, LoraFile
from erasure.lora.fit import bare, factor_shapes, match_lora, module_paths
from erasure.lora.kind import DOWN, UP
from erasure.lora.layer_choice import base_layers

Modules = Mapping[str, nn.Module]
# The layers of a text encoder that LoRA files know; what else it has, such as a projection, they have no name for.
TEXT_LAYERS = "encoder.layers."


def model_layers(modules: Modules) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return every layer that a LoRA can change by module path, the U-Net's first; see :func:`base_layers`."""
    return {
        _joined(name, path): layer
        for name, module in modules.items()
        for path, layer in base_layers(module).items()
        if not name or TEXT_LAYERS in path
    }


def model_shapes(modules: Modules) -> dict[str, tuple[int, ...]]:
    """Return the shapes of these layers' weights by module path: (out, in[, k, k])."""
    return {path: tuple(layer.weight.shape) for path, layer in model_layers(modules).items()}


def model_state(modules: Modules) -> dict[str, Tensor]:
    """Return a copy of the weights of all adapters, fp32; see :func:`erasure.lora.adapter.lora_state`."""
    return {
        _joined(name, key): weight for name, module in modules.items() for key, weight in lora_state(module).items()
    }


def load_model_state(modules: Modules, state: Mapping[str, Tensor]) -> None:
    """Set the weights of all adapters, in place, to what :func:`model_state` returned.

    Raises: LoraFileError if a name is missing or left over, or a shape differs.
    """
    for name, part in _by_module(modules, state):
        load_lora_state(modules[name], part)


def apply_lora_file(modules: Modules, file: LoraFile) -> None:
    """Check the file with :func:`match_lora`, then put it on the model at weight 1.

    Raises: LoraFileError or IneffectiveLora if it does not fit; the model is then left as it was.
    """
    match_lora(file, model_shapes(modules))
    inject_lora_file(modules, file, 1.0)


def inject_lora_file(modules: Modules, file: LoraFile, weight: float) -> None:
    """Put the file's LoRA on the model at a weight, as in ``<lora:name:weight>``, on the text encoders as well.

    Raises: LoraFileError if the model has no such layer or another shape; it is then left as it was; ValueError if it
    already has an adapter.
    """
    if model_lora_layers(modules):
        raise ValueError("this model already has a LoRA; remove it first")
    shapes = model_shapes(modules)
    paths = module_paths(shapes, file.family)
    unknown = [module for module in file.modules if module not in paths]
    if unknown:
        raise LoraFileError(f"{file.path.name}: the model has no layer {', '.join(unknown[:SHOWN])}")
    state = {}
    for module in file.modules:
        down, up, _ = file.weights(module)
        wanted = factor_shapes(shapes[paths[module]], down.shape[0])
        for part, tensor in ((DOWN, down), (UP, up)):
            same = bare(tuple(tensor.shape)) == bare(wanted[part])
            state[f"{paths[module]}.{part}"] = tensor.reshape(wanted[part]) if same else tensor
    alphas = {paths[module]: alpha for module, alpha in file.alphas.items()}
    try:
        for name, own in _by_module(modules, state):
            if own:
                scales = {path: alphas[_joined(name, path)] for path in _paths(own) if _joined(name, path) in alphas}
                inject_lora_state(modules[name], own, scales)
    except BaseException:
        remove_model_lora(modules)
        raise
    for layer in model_lora_layers(modules):
        layer.set_scale(ADAPTER, weight)


def model_lora_layers(modules: Modules) -> list[LoraLayer]:
    """Return the layers of all adapters; none if there is no adapter."""
    return [layer for module in modules.values() for layer in lora_layers(module).values()]


def remove_model_lora(modules: Modules) -> None:
    """Take all adapters off; see :func:`erasure.lora.adapter.remove_lora`."""
    for module in modules.values():
        remove_lora(module)


def _by_module(modules: Modules, state: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the name of each module, and its part of the state by its own paths."""
    others = [name + "." for name in modules if name]
    for name in modules:
        if name:
            own = {key.removeprefix(name + "."): value for key, value in state.items() if key.startswith(name + ".")}
        else:
            own = {key: value for key, value in state.items() if not key.startswith(tuple(others))}
        yield name, own


def _joined(name: str, path: str) -> str:
    return f"{name}.{path}" if name else path


def _paths(state: Mapping[str, Tensor]) -> dict[str, None]:
    return dict.fromkeys(key.rsplit(".", 2)[0] for key in state)
