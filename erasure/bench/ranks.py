"""ESR-k and PSR-k without a classifier: the frozen model itself tells which of the labels a picture shows.

It is a diffusion classifier (Li et al. 2023, "Your Diffusion Model is Secretly a Zero-Shot Classifier"): the prompt
that explains a picture best is the one with which the model denoises it with the least error.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from erasure import bounded_json
from erasure.bench.suite import Group, TargetSet, digest
from erasure.config.settings import EraseConfig
from erasure.judge.judge import Judge
from erasure.judge.judge_settings import JudgeSettings, settings_for
from erasure.lora.file import read_lora
from erasure.lora.model_adapter import inject_lora_file
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.drawing import counted_steps
from erasure.model.model import Model, open_model
from erasure.whole_file import write_json

Ranks = dict[str, list[int]]
"""The rank of what each picture of a group was drawn of, by the group's name."""
PREFIX = "judged"


def judged_figures(
    checkpoint: CheckpointInfo,
    lora: Path,
    target_set: TargetSet,
    config: EraseConfig,
    base: Path,
    *,
    device: str = "cpu",
) -> Generator[float, None, tuple[dict[str, float], dict[str, float]]]:
    """Draw the pictures of a set as the judge does and rank them; return the figures before erasing and after it.

    They are named like those of the suite's classifiers, ``"judged ESR-1"``. What was found before is kept in the
    folder ``base``. Yields the share that is done of the work at hand. Raises: EraseError.
    """
    model = open_model(checkpoint, precision=config.precision, resolution=config.resolution, device=device)
    asked = other_prompts(target_set)
    drawn = [(shot.prompt, shot.seed) for group in target_set.groups for shot in group.shots]
    judged = [asdict(judge_settings(config, target_set, group)) for group in target_set.groups]
    key = digest([asked, drawn, judged, config.precision, config.resolution])[:8]
    kept = base / f"ranks-{target_set.name}-{key}.json"
    if kept.exists():
        before: Ranks = bounded_json.read(kept)
    else:
        before = yield from _ranks(model, target_set, config, asked)
        write_json(kept, before)
    inject_lora_file(model.parts.modules, read_lora(lora), 1.0)
    after = yield from _ranks(model, target_set, config, asked)
    return _figures(target_set, before), _figures(target_set, after)


def other_prompts(target_set: TargetSet) -> dict[str, list[list[str]]]:
    """Return, for each picture of each group, a prompt for every other label that the same classifier would know.

    Of a label's prompts it is the one most like the picture's own: "a picture of a dog in flat style" for one of a
    church in flat style.
    """
    by_label: dict[str, dict[str, set[str]]] = {}
    for group in target_set.groups:
        for shot in group.shots:
            by_label.setdefault(group.judge, {}).setdefault(shot.label, set()).add(shot.prompt)

    @cache
    def most_alike(prompt: str, judge: str, label: str) -> str:
        return get_close_matches(prompt, sorted(by_label[judge][label]), n=1, cutoff=0.0)[0]

    return {
        group.name: [
            [most_alike(shot.prompt, group.judge, label) for label in by_label[group.judge] if label != shot.label]
            for shot in group.shots
        ]
        for group in target_set.groups
    }


def judge_settings(config: EraseConfig, target_set: TargetSet, group: Group) -> JudgeSettings:
    """Return how the pictures of a group are judged: as the run judges them if they are told apart by what it erases.

    Of a set that erases a style, groups about styles are judged as styles, and the others as concepts.
    """
    erased = next(each for each in target_set.groups if each.erased)
    return settings_for(config.templates if group.judge == erased.judge else ())


def _ranks(
    model: Model, target_set: TargetSet, config: EraseConfig, asked: Mapping[str, Sequence[Sequence[str]]]
) -> Generator[float, None, Ranks]:
    """Draw and rank the pictures of every group with what is on the model."""
    found: Ranks = {}
    for group in target_set.groups:
        judge = Judge(model, judge_settings(config, target_set, group))
        prompts = [shot.prompt for shot in group.shots]
        drawing = judge.draw(prompts, [shot.seed for shot in group.shots])
        latents = yield from counted_steps(model, drawing, "pictures")
        with model.rows.purpose("pictures"):
            found[group.name] = judge.ranks(latents, prompts, asked[group.name])
    return found


def _figures(target_set: TargetSet, ranks: Mapping[str, list[int]]) -> dict[str, float]:
    figures = [group.figures(ranks[group.name]) for group in target_set.groups]
    return {f"{PREFIX} {name}": value for own in figures for name, value in own.items()}
