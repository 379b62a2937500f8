"""The LoRA adapter on the U-Net: one U-Net, two views. A text encoder takes one in the same way.

With the adapter on, the U-Net is the tuned model; inside :func:`without_lora` it is the frozen one. There is no second
copy. Low-rank adaptation is Hu et al. 2021 (arXiv:2106.09685): the effective weight is
``W + weight * (alpha / rank) * up @ down``; a convolution's ``down`` has its kernel, stride and padding, its
``up`` is 1x1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from erasure.config.settings import LayerChoice
from erasure.errors import LoraFileError
from erasure.lora.layer_choice import base_layers, layer_names, text_reader_names

ADAPTER = "erase"
DOWN, UP = ".lora_down.weight", ".lora_up.weight"

# Where a model with our adapter keeps the layers of it.
_LAYERS = "_erase_layers"


def inject_lora(unet: nn.Module, layers: LayerChoice, rank: int, alpha: float, seed: int) -> None:
    """Put a new adapter on the chosen layers; the U-Net's output stays what it was, because ``up`` is zero.

    ``down`` is uniform in ±1/sqrt(fan_in), as in LoRA's reference code. It depends on ``seed`` alone: it is the same on
    every device, and the global random state does not change. LoRA weights are fp32 whatever the dtype of the base,
    which is frozen (``requires_grad`` off). Raises: ValueError if the U-Net already has an adapter, or rank is below 1.
    """
    inject_lora_on(unet, layer_names(unet, layers), rank, alpha, seed)


def inject_lora_on(unet: nn.Module, names: Sequence[str], rank: int, alpha: float, seed: int) -> None:
    """Do what :func:`inject_lora` does, on the layers with these module paths; of a text encoder as well."""
    _inject(unet, dict.fromkeys(names, rank), dict.fromkeys(names, alpha))
    generator = torch.Generator().manual_seed(seed)
    for layer in lora_layers(unet).values():
        down, up = layer_weights(layer)
        bound = 1 / math.sqrt(down[0].numel())
        first = torch.empty(down.shape).uniform_(-bound, bound, generator=generator)
        _set_weights(layer, first, torch.zeros(up.shape))


def inject_lora_state(unet: nn.Module, state: Mapping[str, Tensor], alphas: Mapping[str, float]) -> None:
    """Put an adapter with given weights on the U-Net, each module with its own rank and alpha.

    ``state`` is as returned by :func:`lora_state`; ``alphas`` by module path, a missing one means alpha = rank.
    Raises: LoraFileError if the U-Net has no such layer or another shape; it is then left as it was.
    """
    known = base_layers(unet)
    ranks = {key[: -len(DOWN)]: tensor.shape[0] for key, tensor in state.items() if key.endswith(DOWN)}
    unknown = [name for name in ranks if name not in known]
    if unknown:
        shown = ", ".join(unknown[:3])
        raise LoraFileError(f"the U-Net has no layer {shown}; these LoRA weights are for another model")
    _inject(unet, ranks, {name: alphas.get(name, float(rank)) for name, rank in ranks.items()})
    try:
        load_lora_state(unet, state)
    except BaseException:
        remove_lora(unet)
        raise


def remove_lora(unet: nn.Module) -> None:
    """Take the adapter off. The module tree is what it was before, with the same base modules and tensors."""
    for name, layer in _find_lora_layers(unet).items():
        parent, _, child = name.rpartition(".")
        setattr(unet.get_submodule(parent), child, layer.get_base_layer())
    for own in ("peft_config", _LAYERS):
        if hasattr(unet, own):
            delattr(unet, own)


def lora_layers(unet: nn.Module) -> dict[str, LoraLayer]:
    """Return the adapter's layers by module path, in module order; none if there is no adapter.

    They are asked for around every call of the model, and looking for them takes milliseconds, so they are kept.
    """
    adapters = getattr(unet, "peft_config", None)  # PEFT leaves it where it has put an adapter
    if not adapters:
        return {}
    layers = getattr(unet, _LAYERS, None)
    if layers is None:
        layers = _find_lora_layers(unet)
        if ADAPTER in adapters:  # others come and go as they like
            setattr(unet, _LAYERS, layers)
    return dict(layers)


def _find_lora_layers(unet: nn.Module) -> dict[str, LoraLayer]:
    return {name: module for name, module in unet.named_modules() if isinstance(module, LoraLayer)}


def lora_parameters(unet: nn.Module) -> list[nn.Parameter]:
    """Return the trainable weights: ``down``, ``up`` of each layer in module order."""
    return list(_named_weights(unet).values())


def text_readers(unet: nn.Module) -> list[nn.Parameter]:
    """Return ``down`` (rank, d) of the layers that read nothing but a prompt: cross-attention's keys and values."""
    layers = lora_layers(unet)
    return [layer_weights(layers[name])[0] for name in text_reader_names(layers)]


def lora_state(unet: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the adapter's weights, fp32, on the U-Net's device.

    ``<path>.lora_down.weight``: (rank, in[, k, k]), ``<path>.lora_up.weight``: (out, rank[, 1, 1]).
    """
    return {key: weight.detach().clone().float() for key, weight in _named_weights(unet).items()}


def load_lora_state(unet: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Set the adapter's weights, in place, to what :func:`lora_state` returned. Optimizers keep their parameters.

    Raises: LoraFileError if a name is missing or left over, or a shape differs; nothing is changed then.
    """
    weights = _named_weights(unet)
    problems = [f"{key} is missing" for key in weights.keys() - state.keys()]
    problems += [f"{key} is not in this adapter" for key in state.keys() - weights.keys()]
    problems += [
        f"{key} has shape {tuple(state[key].shape)}, the adapter needs {tuple(weights[key].shape)}"
        for key in weights.keys() & state.keys()
        if state[key].shape != weights[key].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:3])
        raise LoraFileError(f"these LoRA weights do not fit the adapter ({len(problems)} problems): {shown}")
    with torch.no_grad():
        for key, weight in weights.items():
            weight.copy_(state[key])


@contextmanager
def without_lora(unet: nn.Module) -> Iterator[None]:
    """Switch the adapter off inside the block: the U-Net is then the frozen model.

    ``requires_grad`` does not change, so graphs built earlier still reach the LoRA weights. Note for gradient
    checkpointing: its backward pass runs the layers again in the state they are in *then*. Run the backward pass of a
    frozen forward pass inside the block, that of a tuned one outside.
    """
    layers = list(lora_layers(unet).values())
    before = [layer._disable_adapters for layer in layers]
    try:
        for layer in layers:
            # Not enable_adapters(False), which would also switch requires_grad off.
            layer._disable_adapters = True
        yield
    finally:
        for layer, disabled in zip(layers, before, strict=True):
            layer._disable_adapters = disabled


@contextmanager
def without_lora_from(unet: nn.Module, row: int) -> Iterator[None]:
    """Switch the adapter off for the rows of a batch from ``row`` on: two models in one call.

    For a small model or batch, two rows take hardly longer than one. Run the backward pass inside the block, too.
    """

    def first_rows(module: nn.Module, inputs: Any, update: Tensor) -> Tensor:
        return torch.cat([update[:row], torch.zeros_like(update[row:])])

    handles = [layer.lora_B[ADAPTER].register_forward_hook(first_rows) for layer in lora_layers(unet).values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def lora_weight(unet: nn.Module, weight: float) -> Iterator[None]:
    """Set the adapter's weight inside the block, as in ``<lora:name:weight>``: 1 is as trained, 0 is off.

    A negative weight has the opposite effect. Nested blocks replace the weight, they do not multiply it.
    Raises: ValueError if the U-Net has no adapter.
    """
    layers = list(lora_layers(unet).values())
    if not layers:
        raise ValueError("a LoRA weight was given, but there is no LoRA on this U-Net")
    before = [layer.scaling[ADAPTER] for layer in layers]
    try:
        for layer in layers:
            layer.set_scale(ADAPTER, weight)
        yield
    finally:
        for layer, scaling in zip(layers, before, strict=True):
            layer.scaling[ADAPTER] = scaling


def _inject(unet: nn.Module, ranks: Mapping[str, int], alphas: Mapping[str, float]) -> None:
    """Put PEFT layers of given rank and alpha on exactly the given modules. Their weights are still to be set."""
    if lora_layers(unet):
        raise ValueError("this U-Net already has a LoRA; remove it first")
    if not ranks or min(ranks.values()) < 1:
        found = sorted(set(ranks.values()))
        raise ValueError(f"a LoRA needs at least one layer and a rank of at least 1, got {found}")
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # annotated int, used as a number
        # One regular expression matches whole names; a list would match endings as well.
        target_modules="|".join(re.escape(name) for name in ranks),
        rank_pattern={name: other for name, other in ranks.items() if other != rank},
        alpha_pattern={name: other for name, other in alphas.items() if other != alpha},
        init_lora_weights=False,
    )
    try:
        # Linear and Conv2d draw first values, which are replaced later, from the global random state.
        with torch.random.fork_rng(devices=[]):
            inject_adapter_in_model(config, unet, adapter_name=ADAPTER)
        for layer in lora_layers(unet).values():
            _set_weights(layer, *layer_weights(layer))
    except BaseException:
        remove_lora(unet)
        raise


def _set_weights(layer: LoraLayer, down: Tensor, up: Tensor) -> None:
    base = layer.get_base_layer()
    assert isinstance(base.weight, Tensor)
    for module, value in ((layer.lora_A[ADAPTER], down), (layer.lora_B[ADAPTER], up)):
        module.weight = nn.Parameter(value.detach().to(device=base.weight.device, dtype=torch.float32))


def layer_weights(layer: LoraLayer) -> tuple[nn.Parameter, nn.Parameter]:
    """Return ``down`` and ``up`` of one layer of an adapter."""
    down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    assert isinstance(down, nn.Parameter)
    assert isinstance(up, nn.Parameter)
    return down, up


def _named_weights(unet: nn.Module) -> dict[str, nn.Parameter]:
    named = {}
    for name, layer in lora_layers(unet).items():
        named[name + DOWN], named[name + UP] = layer_weights(layer)
    return named
