"""The plan: what a run will do, said before it starts."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from erasure.config import EraseConfig
from erasure.core.concepts import ConceptSpace
from erasure.core.denoiser import Denoiser, Rows
from erasure.core.embedding import Prompt
from erasure.core.latent_source import latent_source
from erasure.core.latents import Sampler
from erasure.core.lora import lora_layers, lora_parameters
from erasure.core.memory import peak_process_bytes


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
        rows_per_update=expected_rows(space, config),
        rows_setup=rows_setup,
        space=space,
    )


class _CountingDenoiser:
    """Counts rows like the real one and predicts zeros, to play a run through without a model."""

    def __init__(self) -> None:
        self.rows = Rows()

    def __call__(self, z: Tensor, t: Tensor, embedding: Tensor) -> Tensor:
        self.rows.count(len(z))
        return torch.zeros_like(z)

    def frozen(self) -> Any:
        return torch.no_grad()


def expected_rows(space: ConceptSpace, config: EraseConfig) -> float:
    """U-Net rows per update, from playing the draws of a run with a counting stand-in and uniform picks."""
    if config.method == "uce":
        return 0.0
    updates = min(config.updates, 200)
    counting = _CountingDenoiser()
    # Shape and embeddings do not matter for counting, so they are as small as can be.
    sampler = Sampler(counting, torch.linspace(0.99, 0.01, 1000), torch.zeros(1, 1), (4, 1, 1))  # type: ignore[arg-type]
    source = latent_source(sampler, config)
    generator = Generator().manual_seed(config.seed)
    fresh = config.latents == "fresh"
    for update in range(updates):
        targets = [(update * config.batch + i) % len(space.targets) for i in range(config.batch)]
        erased = [Prompt(space.targets[i].target, sampler.null) for i in targets]
        anchors = [Prompt(space.targets[i].anchor, sampler.null) for i in targets]
        # a step of the rerank search measures two candidates per target
        for _ in range(config.search_steps * {"gumbel": 1, "pgd": 1, "rerank": 2}.get(config.adversary, 0)):
            if fresh:
                source.draw(_picks(space, targets, config, generator), generator, tuned=True)
            counting.rows.count(2 * config.batch)
        preserved = _picks(space, targets, config, generator)
        if config.preserve or config.adversary == "fixed":
            preserved.append(Prompt(config.preserve[0] if config.preserve else "", sampler.null))
        states = source.draw(anchors if config.latents == "pictures" else erased, generator, tuned=config.on_policy)
        kept = source.draw(preserved, generator, tuned=config.preserve_on_policy or fresh)
        unknown = [s.eps_null is None for s in states]
        anchored = sum(missing or anchor.text != "" for missing, anchor in zip(unknown, anchors, strict=True))
        if config.guidance and config.guidance_from == "null" and any(anchor.text for anchor in anchors):
            anchored += sum(unknown)
        own = sum(s.eps is None for s in states) if config.guidance else 0
        counting.rows.count(anchored + own + sum(s.eps is None or config.adversary == "pgd" for s in kept))
        counting.rows.count(len(erased) + len(preserved))
    return counting.rows.total / updates


def _picks(space: ConceptSpace, targets: list[int], config: EraseConfig, generator: Generator) -> list[Prompt]:
    null = torch.zeros(1, 1)
    if config.adversary == "anchor":
        return [Prompt(space.targets[i].anchor, null) for i in targets]
    if config.adversary in ("fixed", "none"):
        return []
    if config.adversary == "pgd":
        return [Prompt(space.targets[i].target, null) for i in targets]
    picks = [int(torch.randint(len(space.targets[i].preserved), (), generator=generator)) for i in targets]
    return [Prompt(space.targets[i].preserved[k].text, null) for i, k in zip(targets, picks, strict=True)]


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
