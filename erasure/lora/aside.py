"""The adapters of a model set aside for a while, so that another one can be trained in the place of the U-Net's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from erasure.lora.adapter import ADAPTER, lora_layers, remove_lora, without_lora
from erasure.lora.model_adapter import Modules


@contextmanager
def lora_aside(modules: Modules, *, merged: bool) -> Iterator[None]:
    """Inside the block, the U-Net has no adapter and can take one; ``merged``: the change is in its weights meanwhile.

    Text encoders have theirs on if ``merged``, else off: whatever is embedded inside the block, the empty prompt too,
    is told the U-Net as it is then. What was embedded before is for both models, and does not fit.

    Afterwards all are what they were, bit for bit, with the same adapters; one that was put on inside is gone. While
    they are merged, the changed layers' weights are kept twice. "Frozen" inside the block means: without an adapter
    that was put on the U-Net inside, and told what the text encoders say without theirs.
    """
    with ExitStack() as off:
        if not merged:
            for name, module in modules.items():
                if name:
                    off.enter_context(without_lora(module))
        off.enter_context(_unet_aside(modules[""], merged=merged))
        yield


@contextmanager
def _unet_aside(unet: nn.Module, *, merged: bool) -> Iterator[None]:
    layers = lora_layers(unet)
    config: Any = getattr(unet, "peft_config", None)
    before = {name: _weight(layer).data for name, layer in layers.items()}
    if merged:
        for layer in layers.values():
            base, change = _weight(layer), cast(Any, layer).get_delta_weight(ADAPTER)
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
