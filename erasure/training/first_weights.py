"""The weights that training starts from, and what they may read."""

from __future__ import annotations

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.lora.adapter import load_lora_state, text_readers
from erasure.model.model import Model
from erasure.training.closed_start import closed_start
from erasure.training.null_space import NullSpace, projection
from erasure.training.preserved_states import preserved_states


def set_first_weights(model: Model, space: ConceptSpace, config: EraseConfig) -> NullSpace | None:
    """Set the LoRA that is on the model's U-Net to where training starts; return the null space that it reads from.

    None if the config wants none, or if no layer of the LoRA reads prompts.
    """
    if (config.start == "zero" and not config.null_space) or not text_readers(model.unet):
        return None
    preserved = preserved_states(model, space, config)
    start = closed_start(model, space, config, preserved) if config.start == "closed-form" else None
    null_space = None
    if config.null_space:
        # After the start, whose adversary has weighed what is preserved.
        null_space = NullSpace(model, projection(model, space, config, preserved.moment()))
    if start is not None:
        load_lora_state(model.unet, start)
        if null_space is not None:
            null_space.follow()
    return null_space
