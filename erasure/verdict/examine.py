"""Examinations as they are made: of a model that is to be trained, and of any LoRA file on any checkpoint."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from math import isfinite

from erasure.concepts.build import space_steps
from erasure.concepts.space import ConceptSpace
from erasure.concepts.vocabulary import load_vocabulary
from erasure.config.settings import EraseConfig
from erasure.errors import LoraFileError
from erasure.judge.album import Album, open_album
from erasure.lora.fit import match_lora
from erasure.lora.model_adapter import inject_lora_file, model_shapes
from erasure.model.drawing import relayed
from erasure.model.model import Model, open_model
from erasure.verdict.examination import Examination
from erasure.verdict.measurement import Measurement, MeasureTask, base_note
from erasure.verdict.panel import LOOK_SIZES, PANEL_SIZES, PanelSizes, make_panel


def open_examination(
    model: Model,
    space: ConceptSpace,
    config: EraseConfig,
    sizes: PanelSizes | None = None,
    album: Album | None = None,
) -> Examination:
    """Return the examination of a concept space; ``config.judged_words`` of its nearest words are judged.

    Without any, it is as small as looks during training need. ``album``: what was drawn and judged already.
    """
    sizes = replace(sizes or (PANEL_SIZES if config.judged_words else LOOK_SIZES), near=config.judged_words)
    vocabulary = load_vocabulary(config, model.tokenizer)
    panel = make_panel(space, space.erased_by_target(config), vocabulary, config.preserve, sizes)
    return Examination(model, album or open_album(model, config.templates), panel, config.templates, sizes)


def examine_lora(task: MeasureTask, *, device: str = "cpu") -> Generator[float, None, Measurement]:
    """Judge what a LoRA file does to a checkpoint. Yields the share that is done.

    Raises: EraseError if the checkpoint cannot be loaded, the file does not fit it, or a concept cannot be used.
    """
    file, config = task.file, task.config
    note = base_note(file, task.checkpoint)
    # Its maker may have had a device that works in other number formats.
    precision = "fp32" if device == "cpu" else config.precision
    model = open_model(task.checkpoint, precision=precision, resolution=config.resolution, device=device)
    match_lora(file, model_shapes(model.parts.modules), task.checkpoint.family)
    album = open_album(model, config.templates)
    space = yield from relayed(space_steps(model, config, album), lambda _: 0.0)
    examination = open_examination(model, space, config, album=album)
    yield from relayed(examination.before(), lambda share: share / 2)
    inject_lora_file(model.parts.modules, file, task.weight)
    verdict = yield from relayed(examination.after(), lambda share: (1 + share) / 2)
    if not all(isfinite(finding.moved) and isfinite(finding.score_after) for finding in verdict.findings):
        raise LoraFileError(
            f"with {file.path.name} at weight {task.weight:g} the model draws no pictures, only values that are not "
            "finite; choose a smaller weight"
        )
    notes = (*task.notes, *model.parts.notes, note, *space.notes)
    return Measurement(task, verdict, tuple(line for line in notes if line))
