"""A loaded model made ready: the concept space, the LoRA on its U-Net, and what trains it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch

from erasure.concepts.build import space_steps
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.judge.album import AlbumState, open_album
from erasure.lora.adapter import inject_lora
from erasure.lora.parent import Parent
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.drawing import run_to_end
from erasure.model.model import Model, open_model
from erasure.model.stage import Stage
from erasure.training.events import Look
from erasure.training.plan import Plan
from erasure.training.planning import make_plan
from erasure.training.solver import Solver, solver
from erasure.training.steering import Steering
from erasure.training.trainer import Trainer
from erasure.verdict.examination import Examination
from erasure.verdict.examine import open_examination


@dataclass
class Session:
    """A model with its LoRA, what trains it, what it will do, and what judges it (None: nothing)."""

    model: Model
    space: ConceptSpace
    trainer: Solver
    plan: Plan
    examination: Examination | None = None

    def steer(self) -> Look | None:
        """From now on let looks decide what is trained and when it ends, if the config wants it.

        The pictures before have been judged. Returns what looks see in them; None if nothing looks, or the judge knows
        none of the targets.
        """
        trainer, config = self.trainer, self.trainer.config
        if self.examination is not None and config.look_every and isinstance(trainer, Trainer):
            weights, defence = trainer.descent, trainer.defence
            steering = Steering(weights, self.examination, config.look_every, config.updates, defence)
            trainer.steer(steering)
            return steering.before() if steering.known else None
        return None

    def move(self, device: str | torch.device) -> None:
        """Move the model and what trains it to another device, between two updates. Results do not change.

        The LoRA's weights and the optimizer stay the same objects.
        """
        self.model.move(device)
        self.trainer.move(device)
        if self.examination is not None:
            self.examination.move(device)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def open_session(
    checkpoint: CheckpointInfo, config: EraseConfig, device: str, space: ConceptSpace | None = None
) -> Session:
    """Do all of :func:`session_steps` at once."""
    return run_to_end(session_steps(checkpoint, config, device, space))


def session_steps(
    checkpoint: CheckpointInfo,
    config: EraseConfig,
    device: str,
    space: ConceptSpace | None = None,
    album_state: AlbumState | None = None,
    parents: Sequence[Parent] = (),
) -> Generator[Stage, None, Session]:
    """Load the checkpoint, find the concept space unless it is given, and put a new LoRA on the U-Net.

    ``album_state``: the album that a given space was measured with; ``parents``: LoRAs whose weights the new one
    starts from. Yields how far it is. Raises: EraseError.
    """
    yield Stage("loads the checkpoint")
    model = open_model(checkpoint, precision=config.precision, resolution=config.resolution, device=device)
    album = open_album(model, config.templates)
    if album_state is not None:
        album.load(*album_state)
    if space is None:
        space = yield from space_steps(model, config, album)
    yield Stage("prepares the training")
    inject_lora(model.unet, config.layers, config.rank, config.alpha, config.seed)
    if config.gradient_checkpointing:
        model.unet.enable_gradient_checkpointing()
        # Older versions of diffusers checkpoint only in training mode. SD 1.x has no dropout for it to switch on.
        model.unet.train()
    trainer, plan = solver(model, space, config, parents), make_plan(model, space, config)
    judged = config.judged_words or config.look_every
    examination = open_examination(model, space, config, album=album) if judged else None
    return Session(model, space, trainer, plan, examination)
