"""Near preservation: what a LoRA does to the protected words nearest to its targets, by the model's own judgement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import safetensors.torch

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.settle import with_changes
from erasure.lora.file import read_lora
from erasure.lora.model_adapter import inject_lora_file
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.drawing import run_to_end
from erasure.model.model import open_model
from erasure.verdict.examination import Examination
from erasure.verdict.examine import open_examination
from erasure.verdict.panel import PanelSizes
from erasure.verdict.verdict import Finding
from erasure.whole_file import whole_file

PICTURES = 4


def near_sizes(words: int, targets: int) -> PanelSizes:
    """Return the panel of ``words`` nearest words for each target, in :data:`PICTURES` pictures each."""
    return PanelSizes(target_pictures=PICTURES, names=0, near=words * targets, near_pictures=PICTURES, near_each=1)


def near_preservation(
    checkpoint: CheckpointInfo,
    lora: Path,
    space: ConceptSpace,
    config: EraseConfig,
    before: Path,
    *,
    words: int,
    device: str = "cpu",
) -> dict[str, float]:
    """Judge the nearest words of each target before and after; return the figures of :func:`near_figures`.

    ``space`` and ``config`` are those of the target set, the same for all methods. What was found before is kept in the
    file ``before``. Raises: EraseError.
    """
    model = open_model(checkpoint, precision=config.precision, resolution=config.resolution, device=device)
    sizes = near_sizes(words, len(space.targets))
    examination = open_examination(model, space, with_changes(config, judged_words=sizes.near), sizes)
    _look_before(examination, before)
    inject_lora_file(model.parts.modules, read_lora(lora), 1.0)
    return near_figures(run_to_end(examination.after()).of("near"))


def near_figures(findings: Sequence[Finding]) -> dict[str, float]:
    """Return the share (%) of the words that were kept, their mean own score (% of before) and how far they moved.

    Words that the model draws as the target, so that they cannot be kept, are left out, unless all are.
    """
    able = [finding for finding in findings if not finding.drawn_as_target] or findings
    if not able:
        return {}
    kept = fmean([100.0 * finding.kept for finding in able])
    score = 100 * fmean([f.score_after for f in able]) / fmean([f.score_before for f in able])
    moved = fmean([finding.moved for finding in able])
    return {"near kept": round(kept, 2), "near score": round(score, 2), "near moved": round(moved, 4)}


def _look_before(examination: Examination, file: Path) -> None:
    """Judge the pictures before, or read what was found earlier."""
    if file.exists():
        examination.load(safetensors.torch.load_file(file))
        return
    run_to_end(examination.before())
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as part:
        safetensors.torch.save_file(examination.tensors(), part)
