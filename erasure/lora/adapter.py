"""The LoRA adapter on the U-Net: one U-Net, two views.

With the adapter on, the U-Net is the tuned model; under :func:`without_lora` it is the frozen one. There is
never a second copy. Low-rank adaptation is Hu et al. 2021 (arXiv:2106.09685): the effective weight is
``W + weight * (alpha / rank) * up @ down``; a convolution's ``down`` has its kernel, stride and padding, its
``up`` is 1x1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from erasure.config.settings import LayerChoice
from erasure.errors import LoraFileError

ADAPTER = "erase"
DOWN, UP = ".lora_down.weight", ".lora_up.weight"

_CHOOSE: dict[LayerChoice, Callable[[str], bool]] = {
    "xattn": lambda name: ".attn2." in name,
    "xattn_kv": lambda name: name.endswith((".attn2.to_k", ".attn2.to_v")),
    "selfattn": lambda name: ".attn1." in name,
    # "all but attn2, time_embed.* and out.*" in the names of the original layout
    "noxattn": lambda name: ".attn2." not in name and not name.startswith("time_embedding.") and name != "conv_out",
    "full": lambda name: True,
}


def base_layers(unet: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Every Linear and Conv2d of the U-Net by module path, in module order, with or without an adapter."""
    layers: dict[str, nn.Linear | nn.Conv2d] = {}
    wrapper = None  # named_modules goes depth first, so a wrapper's insides follow it directly
    for name, module in unet.named_modules():
        if wrapper is not None and name.startswith(wrapper + "."):
            continue
        if isinstance(module, LoraLayer):
            wrapper, module = name, module.get_base_layer()
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            layers[name] = module
    return layers


def layer_names(unet: nn.Module, layers: LayerChoice) -> tuple[str, ...]:
    """Module paths of the layers that a choice trains, in module order.

    Counts in SD 1.x: ``xattn`` 64 (every cross-attention Linear), ``xattn_kv`` 32 (keys and values only),
    ``selfattn`` 64, ``noxattn`` 215 (all but cross-attention, time embedding and output convolution),
    ``full`` 282. Raises ValueError for an unknown choice, or one that finds nothing in this U-Net.
    """
    if layers not in _CHOOSE:
        raise ValueError(f"layers is {layers!r}; choose one of {', '.join(get_args(LayerChoice))}")
    names = tuple(name for name in base_layers(unet) if _CHOOSE[layers](name))
    if not names:
        raise ValueError(f"this U-Net has no layer that {layers!r} could train")
    return names


def inject_lora(unet: nn.Module, layers: LayerChoice, rank: int, alpha: float, seed: int) -> None:
    """Put a new adapter on the chosen layers; the U-Net's output stays what it was, because ``up`` is zero.

    ``down`` is uniform in ±1/sqrt(fan_in), as in LoRA's reference code, and drawn from ``seed`` alone: the
    same on every device, and the global random state is left as it was. LoRA weights are fp32 whatever the
    base's dtype; the base is frozen (``requires_grad`` off). Raises ValueError for a U-Net that already has
    an adapter, or a rank below 1.
    """
    names = layer_names(unet, layers)
    _inject(unet, dict.fromkeys(names, rank), dict.fromkeys(names, alpha))
    generator = torch.Generator().manual_seed(seed)
    for layer in lora_layers(unet).values():
        down, up = _weights(layer)
        bound = 1 / math.sqrt(down[0].numel())
        first = torch.empty(down.shape).uniform_(-bound, bound, generator=generator)
        _set_weights(layer, first, torch.zeros(up.shape))


def inject_lora_state(unet: nn.Module, state: Mapping[str, Tensor], alphas: Mapping[str, float]) -> None:
    """Put an adapter on the U-Net that holds given weights, each module with its own rank and alpha.

    ``state`` is as :func:`lora_state` gives it; ``alphas`` is by module path, a missing one means alpha =
    rank. Raises LoraFileError, leaving the U-Net as it was, for names and shapes that it does not have.
    """
    known = base_layers(unet)
    ranks = {key[: -len(DOWN)]: tensor.shape[0] for key, tensor in state.items() if key.endswith(DOWN)}
    unknown = [name for name in ranks if name not in known]
    if unknown:
        shown = ", ".join(unknown[:3])
        raise LoraFileError(f"the U-Net has no layer {shown}: these LoRA weights are for another model")
    _inject(unet, ranks, {name: alphas.get(name, float(rank)) for name, rank in ranks.items()})
    try:
        load_lora_state(unet, state)
    except BaseException:
        remove_lora(unet)
        raise


def remove_lora(unet: nn.Module) -> None:
    """Take the adapter off: the module tree is what it was, with the very same base modules and tensors."""
    for name, layer in lora_layers(unet).items():
        parent, _, child = name.rpartition(".")
        setattr(unet.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(unet, "peft_config"):
        del unet.peft_config


def lora_layers(unet: nn.Module) -> dict[str, LoraLayer]:
    """The adapter's layers by module path, in module order; empty when there is no adapter."""
    return {name: module for name, module in unet.named_modules() if isinstance(module, LoraLayer)}


def lora_parameters(unet: nn.Module) -> list[nn.Parameter]:
    """The trainable weights: ``down``, ``up`` of each layer in module order."""
    return list(_named_weights(unet).values())


def lora_state(unet: nn.Module) -> dict[str, Tensor]:
    """A copy of the adapter's weights, fp32, where the U-Net is.

    ``<path>.lora_down.weight``: (rank, in[, k, k]), ``<path>.lora_up.weight``: (out, rank[, 1, 1]).
    """
    return {key: weight.detach().clone().float() for key, weight in _named_weights(unet).items()}


def load_lora_state(unet: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Set the adapter's weights in place (optimizers keep their parameters): undoes :func:`lora_state`.

    Raises LoraFileError, changing nothing, when a name is missing or left over, or a shape differs.
    """
    weights = _named_weights(unet)
    problems = [f"{key} is missing" for key in weights.keys() - state.keys()]
    problems += [f"{key} has no place in this adapter" for key in state.keys() - weights.keys()]
    problems += [
        f"{key} has shape {tuple(state[key].shape)}, the adapter wants {tuple(weights[key].shape)}"
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
    """The frozen model: the adapter is off inside the block, then again what it was before, errors or not.

    ``requires_grad`` is left alone, so graphs built earlier still reach the LoRA weights. Beware of gradient
    checkpointing: its backward pass runs the layers again in the state they are in *then*. Go backward
    through a frozen forward inside the block, through a tuned one outside.
    """
    layers = list(lora_layers(unet).values())
    before = [layer._disable_adapters for layer in layers]
    try:
        for layer in layers:
            # not enable_adapters(False), which also turns requires_grad off
            layer._disable_adapters = True
        yield
    finally:
        for layer, disabled in zip(layers, before, strict=True):
            layer._disable_adapters = disabled


@contextmanager
def without_lora_from(unet: nn.Module, row: int) -> Iterator[None]:
    """The adapter is on for the first ``row`` rows of a batch and off for the rest: two models in one call.

    A small model, or a small batch, takes hardly longer for two rows than for one. Go backward inside the block.
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
    """The adapter at a weight, as in ``<lora:name:weight>``: 1 is as trained, 0 is off, negative is away.

    Nested blocks replace the weight, they do not multiply it. Raises ValueError for a U-Net without an
    adapter.
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
    """PEFT layers of given rank and alpha on exactly the given modules; their weights are yet to be set."""
    if lora_layers(unet):
        raise ValueError("this U-Net already has a LoRA: remove it first")
    if not ranks or min(ranks.values()) < 1:
        found = sorted(set(ranks.values()))
        raise ValueError(f"a LoRA needs at least one layer and a rank of at least 1, got {found}")
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # annotated int, used as a number
        # as one regular expression it matches whole names; as a list it would match endings too
        target_modules="|".join(re.escape(name) for name in ranks),
        rank_pattern={name: other for name, other in ranks.items() if other != rank},
        alpha_pattern={name: other for name, other in alphas.items() if other != alpha},
        init_lora_weights=False,
    )
    try:
        # Linear and Conv2d draw their first values, thrown away later, from the global random state
        with torch.random.fork_rng(devices=[]):
            inject_adapter_in_model(config, unet, adapter_name=ADAPTER)
        for layer in lora_layers(unet).values():
            _set_weights(layer, *_weights(layer))
    except BaseException:
        remove_lora(unet)
        raise


def _set_weights(layer: LoraLayer, down: Tensor, up: Tensor) -> None:
    base = layer.get_base_layer()
    assert isinstance(base.weight, Tensor)
    for module, value in ((layer.lora_A[ADAPTER], down), (layer.lora_B[ADAPTER], up)):
        module.weight = nn.Parameter(value.detach().to(device=base.weight.device, dtype=torch.float32))


def _weights(layer: LoraLayer) -> tuple[nn.Parameter, nn.Parameter]:
    down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    assert isinstance(down, nn.Parameter)
    assert isinstance(up, nn.Parameter)
    return down, up


def _named_weights(unet: nn.Module) -> dict[str, nn.Parameter]:
    named = {}
    for name, layer in lora_layers(unet).items():
        named[name + DOWN], named[name + UP] = _weights(layer)
    return named
