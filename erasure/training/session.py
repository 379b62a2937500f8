"""A loaded model made ready: denoiser, embedder and concept space, the LoRA on its U-Net, and the trainer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from erasure.concepts.build import build_concept_space
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.lora.adapter import inject_lora
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.denoiser import DTYPES, Denoiser
from erasure.model.embedding import Embedder
from erasure.model.models import Models, load_models
from erasure.training.plan import Plan, make_plan
from erasure.training.trainer import Trainer, latent_side
from erasure.training.uce import UceSolver


@dataclass
class Session:
    models: Models
    denoiser: Denoiser
    embedder: Embedder
    space: ConceptSpace
    trainer: Trainer | UceSolver
    plan: Plan

    def move(self, device: str | torch.device) -> None:
        """Move the models' weights, between two updates; the LoRA and its optimizer stay the same objects.

        What remains (Adam's moments, a few latents) is small. A paused run on the CPU leaves a GPU to others.
        """
        for part in (self.models.unet, self.models.vae, self.models.text_encoder):
            part.to(device)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = latent_side(self.models, self.trainer.config)
        return self.models.info.family.latent_channels, side, side

    @property
    def pixels(self) -> int:
        """Side of the pictures that are trained on."""
        return self.latent_shape[1] * self.models.vae_scale_factor


def open_models(checkpoint: CheckpointInfo, config: EraseConfig, device: str) -> tuple[Models, Denoiser, Embedder]:
    """The checkpoint in the config's precision, and the two views of it that all work goes through."""
    models = load_models(checkpoint, device=device, dtype=DTYPES[config.precision])
    if config.precision == "fp16":
        # SD 1.x's VAE overflows in fp16 on some pictures, which then come out black.
        models.vae.float()
    return models, Denoiser(models.unet, max_rows=rows_at_once(models, config)), Embedder(models)


def rows_at_once(models: Models, config: EraseConfig) -> int:
    """Rows of a call without gradients: as many as take about the memory of an update with gradient checkpointing.

    Those are 8 with SD 1.x at 512 pixels (``python -m benchmarks.memory``), and more where a U-Net is narrower or its
    latents are smaller. A GPU that pictures of that size fill gains nothing from longer batches.
    """
    family, full = models.info.family, models.info.family.full
    places, full_places = latent_side(models, config) ** 2, (full.pixels // family.pixels_per_latent) ** 2
    weights = sum(weight.numel() for weight in models.unet.parameters())
    return max(1, int(full.rows * full_places / places * math.sqrt(full.unet / weights)))


def open_session(
    checkpoint: CheckpointInfo, config: EraseConfig, device: str, space: ConceptSpace | None = None
) -> Session:
    """Load, find the concept space unless one is given, put a new LoRA on the U-Net."""
    models, denoiser, embedder = open_models(checkpoint, config, device)
    if space is None:
        space = build_concept_space(models, denoiser, embedder, config)
    rows_setup = denoiser.rows.total
    denoiser.rows.total = denoiser.rows.gradient = 0
    inject_lora(models.unet, config.layers, config.rank, config.alpha, config.seed)
    if config.gradient_checkpointing:
        models.unet.enable_gradient_checkpointing()
        # Older diffusers checkpoints only in training mode; SD 1.x has no dropout that this would turn on.
        models.unet.train()
    plan = make_plan(denoiser, space, config, rows_setup=rows_setup)
    trainer = UceSolver if config.method == "uce" else Trainer
    return Session(models, denoiser, embedder, space, trainer(models, denoiser, embedder, space, config), plan)
