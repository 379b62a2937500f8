"""Pictures of what a combined LoRA does: before, with the exact sum and, if it was compressed, with the file."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from erasure.combine.task import CombineTask
from erasure.config.template import fill
from erasure.lora.combine import merge_loras
from erasure.lora.file import LoraFile, read_lora
from erasure.lora.fit import match_lora
from erasure.lora.model_adapter import inject_lora_file, remove_model_lora
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.drawing import drawing_steps, relayed
from erasure.model.layer_search import find_layers
from erasure.model.model import Model, open_model
from erasure.run.forecast import PRESERVED_SHOWN, SEEDS
from erasure.run.picture_folder import Subject
from erasure.run.picture_sheet import picture_grid
from erasure.run.preview import BeforeAfter

_ERASED_SHOWN = 10


@dataclass(frozen=True)
class Comparison:
    """``sheet``: all pictures, labelled; ``rows``: those from before and with the file that was made, by prompt."""

    sheet: Image.Image
    rows: list[BeforeAfter]


def check_fit(task: CombineTask, checkpoint: CheckpointInfo) -> None:
    """Check, from headers of the checkpoint, that the files fit it. Raises: LoraFileError."""
    layers = find_layers(checkpoint)
    for file, _ in task.loras:
        match_lora(file, layers.shapes, checkpoint.family)


def subjects_of(task: CombineTask) -> list[Subject]:
    """Return what is drawn: the erased concepts, and words that are to be preserved; a prompt at least."""
    config = task.joint.config
    if config is None:
        erased = [Subject(concept, concept, "erased") for concept in task.joint.erases[:_ERASED_SHOWN]]
        return erased or [Subject("", "a photo", "other")]
    template = config.templates[0]
    erased = [Subject(concept, fill(template, concept), "erased") for concept in config.erase[:_ERASED_SHOWN]]
    kept = config.preserve[:PRESERVED_SHOWN]
    return erased + [Subject(concept, fill(template, concept), "protected") for concept in kept]


def comparison(task: CombineTask, checkpoint: CheckpointInfo, device: str) -> Generator[float, None, Comparison]:
    """Draw each prompt before, with the exact sum, and with the file at ``task.out`` if that is compressed.

    Yields the share that is drawn. Raises: EraseError.
    """
    model = open_model(checkpoint, device=device)
    subjects = subjects_of(task)
    prompts = [subject.prompt for subject in subjects]
    loras: list[tuple[str, LoraFile | None]] = [("before", None), ("exact sum", merge_loras(task.loras))]
    if task.rank:
        loras.append((f"rank {task.rank}", read_lora(task.out)))
    columns: list[str] = []
    rows: list[list[Image.Image]] = [[] for _ in prompts]
    for number, (title, lora) in enumerate(loras):
        columns += [f"{title}, seed {seed}" for seed in SEEDS]
        drawing = _drawn(model, lora, prompts)
        images = yield from relayed(drawing, lambda share, done=number: (done + share) / len(loras))  # type: ignore[misc]
        for i, row in enumerate(rows):
            row += images[i * len(SEEDS) : (i + 1) * len(SEEDS)]
    each = len(SEEDS)
    compared = [
        BeforeAfter(subject, SEEDS, tuple(row[:each]), tuple(row[-each:]))
        for subject, row in zip(subjects, rows, strict=True)
    ]
    return Comparison(picture_grid(columns, list(zip(prompts, rows, strict=True))), compared)


def _drawn(model: Model, lora: LoraFile | None, prompts: list[str]) -> Generator[float, None, list[Image.Image]]:
    if lora is not None:
        inject_lora_file(model.parts.modules, lora, 1.0)
    try:
        every = [prompt for prompt in prompts for _ in SEEDS]
        return (yield from drawing_steps(model, every, list(SEEDS) * len(prompts)))
    finally:
        if lora is not None:
            remove_model_lora(model.parts.modules)


def pictures_beside(lora: Path) -> Path:
    """Return where the pictures of a combined file lie. Not ``NAME.png``, which web UIs show as its cover."""
    return lora.with_name(f"{lora.stem}-pictures.png")
