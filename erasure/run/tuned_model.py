"""A model whose LoRA is being trained, as a run needs it: it trains, draws, moves, and writes its LoRA file."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.errors import OutOfMemory
from erasure.families.family import Family, PredictionType
from erasure.lora.file import read_lora, write_lora
from erasure.lora.model_adapter import apply_lora_file, model_state, remove_model_lora
from erasure.lora.parent import Parent
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.denoiser import DTYPES
from erasure.model.draw_settings import DRAW_SETTINGS
from erasure.model.drawing import counted_steps, drawing_steps
from erasure.model.rows import Purpose, RowBook
from erasure.model.stage import Stage
from erasure.run.events import Opened
from erasure.run.state import load_state
from erasure.training.events import Look
from erasure.training.plan import Plan
from erasure.training.session import Session, session_steps
from erasure.training.solver import Solver
from erasure.verdict.verdict import Verdict


class Examined(Protocol):
    """What judges a panel of concepts, as a run needs it: see :class:`erasure.verdict.examination.Examination`."""

    @property
    def pictures(self) -> int:
        """How many pictures are judged before."""

    def before(self) -> Generator[float, None, None]:
        """Draw and judge without the LoRA, unless that is known already. Yields the share that is done."""

    def after(self, step: int | None = None) -> Generator[float, None, Verdict]:
        """Draw and judge with the LoRA; return the verdict. Yields the share that is done."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what :meth:`before` found."""

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Undo :meth:`tensors`. Raises: RunError if they belong to another panel."""


class TunedModel(Protocol):
    """All that a run asks of a model with a LoRA in training."""

    @property
    def training(self) -> Solver:
        """What changes the LoRA, update by update."""

    @property
    def space(self) -> ConceptSpace: ...

    @property
    def plan(self) -> Plan: ...

    @property
    def family(self) -> Family: ...

    @property
    def prediction_type(self) -> PredictionType:
        """What the model predicts."""

    @property
    def rows(self) -> RowBook:
        """The U-Net rows that were evaluated so far, by purpose."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of the checkpoint and of how it was loaded, one line each."""

    @property
    def pixels(self) -> int:
        """The side of the pictures that are trained on and drawn."""

    @property
    def examination(self) -> Examined | None:
        """What judges the model before and after; None if no verdict is wanted and nothing looks."""

    def facts(self) -> Opened:
        """Return what there is to say of the loaded model."""

    def steer(self) -> Look | None:
        """From now on let looks decide what is trained, if the config wants it. The pictures before were judged.

        Returns what looks see in them, if there is something to look at.
        """

    def move(self, device: str) -> None:
        """Move the model and its training to another device, between two updates."""

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], *, frozen: bool = False, purpose: Purpose = "pictures"
    ) -> Generator[float, None, list[Image.Image]]:
        """Draw a picture of each prompt with the seed at the same place in ``seeds``, and return them.

        Yields the share that is done, after every sampling step. ``frozen``: without the LoRA. The U-Net rows are
        counted for ``purpose``.
        """

    def write_lora(self, path: Path, metadata: dict[str, str]) -> None:
        """Write the LoRA as it is now, over any file that is there. Raises: LoraFileError, OSError."""

    def put_on(self, path: Path) -> None:
        """Replace the LoRA on the U-Net by that of a file. Training is over then.

        Raises: LoraFileError if a key of the file has no layer, or a value is not finite.
        """


class SessionModel:
    """The :class:`TunedModel` that a session holds."""

    def __init__(self, session: Session, device: str):
        self.space: ConceptSpace = session.space
        self.plan: Plan = session.plan
        self.training: Solver = session.trainer
        self.pixels: int = session.model.pixels
        self.rows: RowBook = session.model.rows
        self.notes: tuple[str, ...] = session.model.parts.notes
        self.family: Family = session.model.parts.info.family
        self.prediction_type: PredictionType = session.model.parts.prediction_type
        self.examination: Examined | None = session.examination
        self._session = session
        self._config = session.trainer.config
        self._device = device

    def facts(self) -> Opened:
        weights = self._session.model.unet.named_parameters()
        parameters = sum(weight.numel() for name, weight in weights if "lora_" not in name)
        return Opened(self._device, parameters, self.pixels, self._config.precision)

    def steer(self) -> Look | None:
        return self._session.steer()

    def move(self, device: str) -> None:
        self._session.move(device)

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], *, frozen: bool = False, purpose: Purpose = "pictures"
    ) -> Generator[float, None, list[Image.Image]]:
        model = self._session.model
        steps = drawing_steps(model, prompts, seeds, DRAW_SETTINGS)
        return counted_steps(model, steps, purpose, frozen=frozen)

    def write_lora(self, path: Path, metadata: dict[str, str]) -> None:
        config = self._config
        write_lora(
            path,
            model_state(self._session.model.parts.modules),
            family=self.family,
            alpha=config.alpha,
            metadata=metadata,
            dtype=DTYPES[config.save_precision],
            overwrite=True,
        )

    def put_on(self, path: Path) -> None:
        modules, file = self._session.model.parts.modules, read_lora(path)
        remove_model_lora(modules)
        apply_lora_file(modules, file)


def open_tuned_model(
    checkpoint: CheckpointInfo,
    config: EraseConfig,
    device: str,
    space: ConceptSpace | None = None,
    album: Path | None = None,
    parents: Sequence[Parent] = (),
) -> Generator[Stage, None, TunedModel]:
    """Load the checkpoint, find the concept space unless it is given, and put a new LoRA on the U-Net.

    ``album``: a state file with the album that a given space was measured with; ``parents``: LoRAs whose
    weights it starts from. Yields how far it is. Raises: EraseError.
    """
    state = load_state(album) if album else None
    return SessionModel((yield from session_steps(checkpoint, config, device, space, state, parents)), device)


@contextmanager
def memory_problems() -> Iterator[None]:
    """Say what to do when memory runs out while loading, measuring or drawing; in an update the trainer says it.

    Raises: OutOfMemory.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemory(
            "the device ran out of memory outside of an update; close other programs that use it, or use precision "
            "bf16 or fp16, and start or resume the run again"
        ) from error
