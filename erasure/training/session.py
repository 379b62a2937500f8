"""A loaded model made ready: the concept space, the LoRA on its U-Net, and what trains it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from erasure.concepts.build import build_concept_space
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.lora.adapter import inject_lora
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.model import Model, open_model
from erasure.training.plan import Plan, make_plan
from erasure.training.solver import Solver, solver


@dataclass
class Session:
    model: Model
    space: ConceptSpace
    trainer: Solver
    plan: Plan

    def move(self, device: str | torch.device) -> None:
        """Move everything that lies on the model's device, between two updates; training goes on there unchanged.

        A paused run on the CPU leaves a GPU to others. The LoRA and its optimizer stay the same objects.
        """
        self.model.move(device)
        self.trainer.move(device)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def open_session(
    checkpoint: CheckpointInfo, config: EraseConfig, device: str, space: ConceptSpace | None = None
) -> Session:
    """Load, find the concept space unless one is given, put a new LoRA on the U-Net."""
    model = open_model(checkpoint, precision=config.precision, resolution=config.resolution, device=device)
    if space is None:
        space = build_concept_space(model, config)
    inject_lora(model.unet, config.layers, config.rank, config.alpha, config.seed)
    if config.gradient_checkpointing:
        model.unet.enable_gradient_checkpointing()
        # Older diffusers checkpoints only in training mode; SD 1.x has no dropout that this would turn on.
        model.unet.train()
    return Session(model, space, solver(model, space, config), make_plan(model, space, config))
