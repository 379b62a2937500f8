"""Descending a loss: the weights that are trained, and one step of Adam on them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from erasure.config.settings import EraseConfig
from erasure.errors import NonFiniteLoss
from erasure.lora.adapter import lora_parameters
from erasure.lora.model_adapter import load_model_state, model_state
from erasure.model.model import Model
from erasure.training.adam_state import adam_tensors, load_adam_tensors, move_adam
from erasure.training.gradient_scale import gradient_scaler, moved_scaler
from erasure.training.null_space import NullSpace


class Descent:
    """Adam on the LoRA of the U-Net, or on the free weights behind it where it is kept in a null space.

    Gradients are cut off at the config's norm; those of fp16 are scaled, as they would vanish.
    """

    def __init__(self, model: Model, null_space: NullSpace | None, config: EraseConfig):
        self._model, self._null_space, self._config = model, null_space, config
        self._parameters = lora_parameters(model.unet)
        if null_space is not None:
            self._parameters = null_space.parameters(self._parameters)
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.learning_rate)
        self._scaler = gradient_scaler(model.dtype, model.device)

    def step(self, parts: Iterable[Tensor], rate: float, update: int) -> None:
        """Take one step down a loss at a learning rate. ``update``: its number, from 1, which an error names.

        ``parts``: add up to the loss. Each goes backward before the next one is asked for, so that memory is needed
        for one alone. Raises: NonFiniteLoss; the weights are then as they were.
        """
        config = self._config
        rates = "learning_rate, pace" if config.pace else "learning_rate"
        advice = f"lower {rates}, preserve_weight or clip, or use precision bf16 or fp32"
        self._optimizer.zero_grad(set_to_none=True)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for loss in parts:
            if not torch.isfinite(loss):
                raise NonFiniteLoss(f"the loss became {loss.item()} in update {update}; {advice}, and resume")
            self._scaler.scale(loss).backward()
        if self._null_space is not None:
            self._null_space.pull_gradients()
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, config.clip or math.inf)
        if not torch.isfinite(norm) and not self._scaler.is_enabled():
            raise NonFiniteLoss(f"the gradient became {norm.item()} in update {update}; {advice}, and resume")
        # With a scaler, an overflow skips the update and lowers the scale; only a scale that never fits is an error.
        self._scaler.step(self._optimizer)
        if self._null_space is not None:
            self._null_space.apply()
        self._scaler.update()
        if self._scaler.is_enabled() and self._scaler.get_scale() < 1e-4:
            raise NonFiniteLoss(f"gradients overflow in fp16 at update {update}; use precision bf16 or fp32")

    # --- the weights

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of all that is trained: the LoRA, that on text encoders too, and the free weights behind it."""
        weights = {f"lora/{name}": weight for name, weight in model_state(self._model.parts.modules).items()}
        if self._null_space is not None:
            weights.update({f"free/{name}": weight for name, weight in self._null_space.tensors().items()})
        return weights

    def put_back(self, weights: dict[str, Tensor]) -> None:
        """Undo :meth:`weights`; other tensors are ignored."""
        load_model_state(self._model.parts.modules, part_of(weights, "lora"))
        if self._null_space is not None:
            self._null_space.load_tensors(part_of(weights, "free"))

    # --- the state besides the weights

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of Adam's moments."""
        return adam_tensors(self._optimizer)

    def meta(self) -> dict[str, Any]:
        """Return the state of the scale of gradients, as plain JSON types."""
        state: dict[str, Any] = self._scaler.state_dict()
        return state

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Undo :meth:`tensors` and :meth:`meta`."""
        load_adam_tensors(self._optimizer, tensors)
        if meta:  # a run in another number format than fp16 had no scale
            self._scaler.load_state_dict(meta)

    def move(self, device: torch.device | str) -> None:
        """Follow the model, which was moved before."""
        move_adam(self._optimizer, device)
        self._scaler = moved_scaler(self._scaler, torch.device(device))
        if self._null_space is not None:
            self._null_space.move(device)


def part_of(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``name/``, without that."""
    return {key.split("/", 1)[1]: value for key, value in tensors.items() if key.startswith(name + "/")}
