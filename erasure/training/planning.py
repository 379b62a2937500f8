"""How the plan of a run is made, and what one of its updates costs on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.settle import decided
from erasure.lora.adapter import lora_parameters
from erasure.lora.model_adapter import model_lora_layers
from erasure.model.conditioning import Conditioning
from erasure.model.memory import peak_process_bytes
from erasure.model.model import Model
from erasure.training.gradient_rows import gradient_rows, trained_rows
from erasure.training.plan import Plan
from erasure.training.row_count import rows_per_update


@dataclass(frozen=True)
class Cost:
    """What one update took on this machine: its time, and the peak memory of the process or of the device."""

    seconds_per_update: float
    peak_bytes: int
    peak_of: str  # "process" or "device"


def make_plan(model: Model, space: ConceptSpace, config: EraseConfig) -> Plan:
    """Return the plan for the LoRA that is on the model's U-Net. The rows of an update are counted, not timed."""
    return Plan(
        layers=len(model_lora_layers(model.parts.modules)),
        parameters=sum(weight.numel() for module in model.parts.modules.values() for weight in lora_parameters(module)),
        rank=config.rank,
        updates=config.updates,
        rows_per_update=rows_per_update(config, tuple(len(target.preserved) for target in space.targets)).total,
        rows_setup=int(model.rows["synonyms"].total),
        space=space,
        decided=decided(config),
    )


def measure_cost(model: Model, plan: Plan, config: EraseConfig) -> Cost:
    """Time one row without a gradient and one call of an update with it, and scale both by the rows of the plan.

    No weight changes.
    """
    trained = trained_rows(config)
    rows = min(trained, gradient_rows(model.rows_at_once, config.batch) or trained)
    device = model.device
    z = torch.zeros((rows, *model.latent_shape), device=device)
    t, conditioning = torch.full((rows,), model.train_steps // 2, device=device), model.embed([""]).expand(rows)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with model.rows.purpose("cost"):
        with_gradient = _seconds(device, lambda: _backward(model, z, t, conditioning))
        with torch.no_grad():
            without = _seconds(device, lambda: model.eps(z, t, conditioning)) / rows
    seconds = with_gradient * trained / rows + without * max(0.0, plan.rows_per_update - trained)
    if device.type == "cuda":
        return Cost(seconds, torch.cuda.max_memory_allocated(device), "device")
    return Cost(seconds, peak_process_bytes(), "process")


def _backward(model: Model, z: Tensor, t: Tensor, conditioning: Conditioning) -> None:
    loss = model.eps(z, t, conditioning).square().mean()
    torch.autograd.grad(loss, lora_parameters(model.unet))


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    work()  # the first call allocates and picks kernels
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
