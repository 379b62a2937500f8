"""The plan: what a run will do, said before it starts."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.lora.adapter import lora_layers, lora_parameters
from erasure.model.conditioning import Conditioning
from erasure.model.memory import peak_process_bytes
from erasure.model.model import Model
from erasure.training.row_count import rows_per_update


@dataclass(frozen=True)
class Cost:
    """Measured on this machine: seconds of one update, and the peak memory in bytes that one needed."""

    seconds_per_update: float
    peak_bytes: int
    peak_of: str  # "process" or "device"


@dataclass(frozen=True)
class Plan:
    layers: int
    parameters: int
    rank: int
    updates: int
    rows_per_update: float
    rows_setup: int  # spent already, on measuring synonyms
    space: ConceptSpace
    cost: Cost | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "space": self.space.to_dict()}


def make_plan(model: Model, space: ConceptSpace, config: EraseConfig) -> Plan:
    """The plan for the LoRA that is on the model's U-Net; what one update costs is counted, not timed."""
    return Plan(
        layers=len(lora_layers(model.unet)),
        parameters=sum(weight.numel() for weight in lora_parameters(model.unet)),
        rank=config.rank,
        updates=config.updates,
        rows_per_update=rows_per_update(config, tuple(len(target.preserved) for target in space.targets)).total,
        rows_setup=int(model.rows["synonyms"].total),
        space=space,
    )


def measure_cost(model: Model, plan: Plan, config: EraseConfig) -> Cost:
    """Times one row without and one update's rows with gradient, and scales them by the plan's rows.

    No weight changes.
    """
    searched = 0 if config.adversary in ("fixed", "whole", "none") else config.batch
    rows = config.batch + searched + bool(config.preserve or config.adversary == "fixed")
    device = model.device
    z = torch.zeros((rows, *model.latent_shape), device=device)
    t, conditioning = torch.full((rows,), model.train_steps // 2, device=device), model.embed([""]).expand(rows)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with model.rows.purpose("cost"):
        with_gradient = _seconds(device, lambda: _backward(model, z, t, conditioning))
        with torch.no_grad():
            without = _seconds(device, lambda: model.eps(z, t, conditioning)) / rows
    seconds = with_gradient + without * max(0.0, plan.rows_per_update - rows)
    if device.type == "cuda":
        return Cost(seconds, torch.cuda.max_memory_allocated(device), "device")
    return Cost(seconds, peak_process_bytes(), "process")


def _backward(model: Model, z: Tensor, t: Tensor, conditioning: Conditioning) -> None:
    loss = model.eps(z, t, conditioning).square().mean()
    torch.autograd.grad(loss, lora_parameters(model.unet))


def _seconds(device: torch.device, work: Any) -> float:
    work()  # the first call allocates and picks kernels
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
