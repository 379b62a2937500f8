"""The adapter's change in the weights themselves, for as long as another adapter is trained on top of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from erasure.lora.adapter import ADAPTER, lora_layers, remove_lora


@contextmanager
def merged_lora(unet: nn.Module) -> Iterator[None]:
    """Inside the block, the U-Net has the adapter's change in its weights and no adapter, so that it can take one.

    Afterwards it is what it was, bit for bit, with the same adapter; one that was put on inside is gone. The changed
    layers' weights are kept twice meanwhile. "Frozen" inside the block means: with the change, and without an adapter
    that was put on inside.
    """
    layers = lora_layers(unet)
    config: Any = getattr(unet, "peft_config", None)
    before: dict[str, Tensor] = {}
    for name, layer in layers.items():
        base, change = _weight(layer), cast(Any, layer).get_delta_weight(ADAPTER)
        before[name] = base.data
        base.data = base.data + change.to(base)
    remove_lora(unet)
    try:
        yield
    finally:
        remove_lora(unet)
        for name, layer in layers.items():
            parent, _, child = name.rpartition(".")
            base = _weight(layer)
            base.data = before[name].to(base.device)
            setattr(unet.get_submodule(parent), child, layer)
        if config is not None:
            unet.peft_config = config


def _weight(layer: LoraLayer) -> Tensor:
    weight = layer.get_base_layer().weight
    assert isinstance(weight, Tensor)
    return weight
