"""ESR-k and PSR-k without a classifier: the frozen model itself tells which of the labels a picture shows.

It is a diffusion classifier (Li et al. 2023, "Your Diffusion Model is Secretly a Zero-Shot Classifier"): the prompt
that explains a picture best is the one with which the model denoises it with the least error.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import asdict
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import torch

from erasure import bounded_json
from erasure.bench.suite import Group, TargetSet, digest
from erasure.config.settings import EraseConfig
from erasure.errors import RunError
from erasure.judge.judge import Judge
from erasure.judge.judge_settings import JudgeSettings, settings_for
from erasure.lora.file import read_lora
from erasure.lora.model_adapter import inject_lora_file
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.drawing import counted_steps, relayed
from erasure.model.model import Model, open_model
from erasure.model.stage import Stage, counted
from erasure.whole_file import write_json

GroupRanks = dict[str, list[int]]
"""The rank of what each picture of a group was drawn of, by the group's name."""
Others = Mapping[str, Mapping[str, list[str]]]
"""The prompts that each picture's own is compared with, by the name of its group and its own."""
PREFIX = "judged"
AT_ONCE = 16  # pictures, between two signs of life


def judged_figures(
    checkpoint: CheckpointInfo,
    lora: Path,
    target_set: TargetSet,
    whole: TargetSet,
    config: EraseConfig,
    base: Path,
    *,
    device: str = "cpu",
) -> Generator[Stage, None, tuple[dict[str, float], dict[str, float]]]:
    """Draw the pictures of a set as the judge does and rank them; return the figures before erasing and after it.

    They are named like those of the suite's classifiers, ``"judged ESR-1"``. ``whole``: the set with all its pictures,
    from which labels and prompts are taken, so that a limit changes no figure but by chance. What was found is kept,
    in the folder ``base`` and beside the LoRA. Raises: EraseError.
    """
    model = open_model(checkpoint, precision=config.precision, resolution=config.resolution, device=device)
    others = other_prompts(target_set, whole)
    drawn = [(shot.name, shot.prompt, shot.seed) for shot in target_set.shots()]
    judged = [asdict(group_judging(config, target_set, group)) for group in target_set.groups]
    key = digest([others, drawn, judged, config.precision, config.resolution])[:8]
    before = yield from _kept(base / f"ranks-{target_set.name}-{key}.json", model, target_set, config, others)
    inject_lora_file(model.parts.modules, read_lora(lora), 1.0)
    after = yield from _kept(lora.parent / f"ranks-{key}.json", model, target_set, config, others)
    return _figures(target_set, before), _figures(target_set, after)


def other_prompts(target_set: TargetSet, whole: TargetSet) -> dict[str, dict[str, list[str]]]:
    """Return, for each group and prompt of its pictures, one for every other label that the same classifier would know.

    Of a label's prompts it is the one most like the picture's own: "a picture of a dog in flat style" for one of a
    church in flat style. ``whole``: the set that labels and their prompts are taken from.
    """
    by_label: dict[str, dict[str, set[str]]] = {}
    for group in whole.groups:
        for shot in group.shots:
            by_label.setdefault(group.judge, {}).setdefault(shot.label, set()).add(shot.prompt)

    @cache
    def most_alike(prompt: str, judge: str, label: str) -> str:
        return get_close_matches(prompt, sorted(by_label[judge][label]), n=1, cutoff=0.0)[0]

    return {
        group.name: {
            shot.prompt: [
                most_alike(shot.prompt, group.judge, label) for label in by_label[group.judge] if label != shot.label
            ]
            for shot in group.shots
        }
        for group in target_set.groups
    }


def group_judging(config: EraseConfig, target_set: TargetSet, group: Group) -> JudgeSettings:
    """Return how the pictures of a group are judged: as the run judges them if they are told apart by what it erases.

    Of a set that erases a style, groups about styles are judged as styles, and the others as concepts.
    """
    erased = next(each for each in target_set.groups if each.erased)
    return settings_for(config.templates if group.judge == erased.judge else ())


def _kept(
    file: Path, model: Model, target_set: TargetSet, config: EraseConfig, others: Others
) -> Generator[Stage, None, GroupRanks]:
    """Read the ranks in a file, or draw and rank with what is on the model, and write them there."""
    if file.exists():
        try:
            kept: GroupRanks = bounded_json.read(file)
        except (OSError, ValueError) as error:
            raise RunError(f"{file.name} cannot be read ({error}); delete it to rank its pictures again") from error
        return kept
    shots = target_set.shots()
    drawing = Judge(model).draw([shot.prompt for shot in shots], [shot.seed for shot in shots])
    steps = counted_steps(model, drawing, "pictures")
    latents = yield from relayed(steps, counted("samples to rank", len(shots)))
    latent = dict(zip((shot.name for shot in shots), latents, strict=True))
    ranks: GroupRanks = {}
    for group in target_set.groups:
        judge, found = Judge(model, group_judging(config, target_set, group)), ranks.setdefault(group.name, [])
        for start in range(0, len(group.shots), AT_ONCE):
            chunk = group.shots[start : start + AT_ONCE]
            prompts = [shot.prompt for shot in chunk]
            with model.rows.purpose("pictures"):
                found += judge.ranks(
                    torch.stack([latent[shot.name] for shot in chunk]),
                    prompts,
                    [others[group.name][prompt] for prompt in prompts],
                )
            yield Stage(f"ranks of {group.name}", start + len(chunk), len(group.shots))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, ranks)
    return ranks


def _figures(target_set: TargetSet, ranks: GroupRanks) -> dict[str, float]:
    figures = [group.figures(ranks[group.name]) for group in target_set.groups]
    return {f"{PREFIX} {name}": value for own in figures for name, value in own.items()}
