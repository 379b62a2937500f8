"""The weights that training starts from, and what they may read."""

from __future__ import annotations

from collections.abc import Sequence

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.lora.adapter import load_lora_state, text_readers
from erasure.lora.parent import Parent
from erasure.model.model import Model
from erasure.training.closed_start import closed_start
from erasure.training.joint_start import joint_start
from erasure.training.null_space import NullSpace, projection
from erasure.training.preserved_states import preserved_states


def set_first_weights(
    model: Model, space: ConceptSpace, config: EraseConfig, parents: Sequence[Parent] = ()
) -> NullSpace | None:
    """Set the LoRA that is on the model's U-Net to where training starts; return the null space that it reads from.

    ``parents``: LoRAs that it starts from in place of the config's start. None if the config wants no null space, or if
    no layer of the LoRA reads prompts. Raises: LoraFileError if a parent does not fit.
    """
    reads = bool(text_readers(model.unet))
    start = None
    preserved = preserved_states(model, space, config) if reads and (parents or config.null_space) else None
    if parents:
        start = joint_start(model, space, config, parents, preserved)
    elif reads and config.start == "closed-form":
        start = closed_start(model, space, config)
    null_space = None
    if preserved is not None and config.null_space:
        null_space = NullSpace(model, projection(model, space, config, preserved.moment()))
    if start is not None:
        load_lora_state(model.unet, start)
        if null_space is not None:
            null_space.follow()
    return null_space
