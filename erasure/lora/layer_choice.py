"""Which layers of a model can get a LoRA, and which of them a choice of the settings trains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import get_args

from peft.tuners.lora import LoraLayer
from torch import nn

from erasure.config.settings import LayerChoice

_CHOOSE: dict[LayerChoice, Callable[[str], bool]] = {
    "xattn": lambda name: ".attn2." in name,
    "xattn_kv": lambda name: name.endswith((".attn2.to_k", ".attn2.to_v")),
    "xattn_v": lambda name: name.endswith(".attn2.to_v"),
    "selfattn": lambda name: ".attn1." in name,
    # "all but attn2, time_embed.* and out.*" in the names of the original layout
    "noxattn": lambda name: ".attn2." not in name and not name.startswith("time_embedding.") and name != "conv_out",
    "full": lambda name: True,
}

_ATTENTION = re.compile(r"_(attn[12])_(to_[a-z])")


def base_layers(unet: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Return every Linear and Conv2d of the U-Net by module path, in module order, with or without an adapter."""
    layers: dict[str, nn.Linear | nn.Conv2d] = {}
    wrapper = None  # named_modules goes depth first, so what is inside a wrapper follows it directly
    for name, module in unet.named_modules():
        if wrapper is not None and name.startswith(wrapper + "."):
            continue
        if isinstance(module, LoraLayer):
            wrapper, module = name, module.get_base_layer()
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            layers[name] = module
    return layers


def layer_shapes(unet: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of these layers' weights by module path, in module order: (out, in[, k, k])."""
    return {name: tuple(layer.weight.shape) for name, layer in base_layers(unet).items()}


def layer_names(unet: nn.Module, layers: LayerChoice) -> tuple[str, ...]:
    """Return the module paths of the layers that a choice trains, in module order.

    Counts in SD 1.x: ``xattn`` 64 (every cross-attention Linear), ``xattn_kv`` 32 (keys and values only),
    ``xattn_v`` 16 (values only), ``selfattn`` 64, ``noxattn`` 215 (all but cross-attention, time embedding and output
    convolution), ``full`` 282. Raises: ValueError if the choice is unknown, or finds no layer in this U-Net.
    """
    if layers not in _CHOOSE:
        raise ValueError(f"layers is {layers!r}; choose one of {', '.join(get_args(LayerChoice))}")
    names = tuple(name for name in base_layers(unet) if _CHOOSE[layers](name))
    if not names:
        raise ValueError(f"this U-Net has no layers for layers = {layers!r}")
    return names


def smallest_choice(names: Iterable[str]) -> LayerChoice:
    """Return the choice with the fewest layers that has all of these, named by their paths or by keys of files.

    In a file's key, dots are underscores; its names may be the original ones.
    """
    plain = [re.sub("^out_2$", "conv_out", re.sub("^time_embed(ding)?_", "time_embedding.", name)) for name in names]
    dotted = [_ATTENTION.sub(r".\1.\2", name) for name in plain]
    order: tuple[LayerChoice, ...] = ("xattn_v", "xattn_kv", "xattn", "selfattn", "noxattn", "full")
    return next(choice for choice in order if all(map(_CHOOSE[choice], dotted)))


def text_reader_names(names: Iterable[str]) -> list[str]:
    """Return those of some layers, given by module path, that are keys or values of cross-attention."""
    return [name for name in names if _CHOOSE["xattn_kv"](name)]


def text_values(names: Iterable[str]) -> list[str]:
    """Return those of some layers, given by module path, that are the values of cross-attention."""
    return [name for name in names if _CHOOSE["xattn_v"](name)]
