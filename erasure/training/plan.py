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
from erasure.model.denoiser import Denoiser
from erasure.model.memory import peak_process_bytes
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


def make_plan(denoiser: Denoiser, space: ConceptSpace, config: EraseConfig, *, rows_setup: int) -> Plan:
    """The plan for the LoRA that is on the denoiser's U-Net; what one update costs is counted, not timed."""
    return Plan(
        layers=len(lora_layers(denoiser.unet)),
        parameters=sum(weight.numel() for weight in lora_parameters(denoiser.unet)),
        rank=config.rank,
        updates=config.updates,
        rows_per_update=rows_per_update(config, tuple(len(target.preserved) for target in space.targets)),
        rows_setup=rows_setup,
        space=space,
    )


def measure_cost(denoiser: Denoiser, shape: tuple[int, int, int], width: int, plan: Plan, config: EraseConfig) -> Cost:
    """Times one row without and one update's rows with gradient, and scales them by the plan's rows.

    ``shape`` (4, h, w) of the latents; ``width`` d of the embeddings. No weight changes.
    """
    searched = 0 if config.adversary in ("fixed", "whole", "none") else config.batch
    rows = config.batch + searched + bool(config.preserve or config.adversary == "fixed")
    device = denoiser.device
    z, t = torch.zeros((rows, *shape), device=device), torch.full((rows,), 500, device=device)
    embedding = torch.zeros((rows, 77, width), device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with denoiser.uncounted():
        with_gradient = _seconds(device, lambda: _backward(denoiser, z, t, embedding))
        with torch.no_grad():
            without = _seconds(device, lambda: denoiser(z, t, embedding)) / rows
    seconds = with_gradient + without * max(0.0, plan.rows_per_update - rows)
    if device.type == "cuda":
        return Cost(seconds, torch.cuda.max_memory_allocated(device), "device")
    return Cost(seconds, peak_process_bytes(), "process")


def _backward(denoiser: Denoiser, z: Tensor, t: Tensor, embedding: Tensor) -> None:
    loss = denoiser(z, t, embedding).square().mean()
    torch.autograd.grad(loss, lora_parameters(denoiser.unet))


def _seconds(device: torch.device, work: Any) -> float:
    work()  # the first call allocates and picks kernels
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
