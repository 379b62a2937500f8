"""Attacks: how often the concepts that a LoRA erases come back, by the suite's own classifier and by the judge."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from erasure.attacks.attack_settings import AttackSettings
from erasure.attacks.report import figures
from erasure.attacks.second_opinion import second_opinion
from erasure.attacks.siege import Siege, besiege
from erasure.bench.spaces import space_key
from erasure.bench.suite import SuiteOptions, TargetSet
from erasure.concepts.other_words import read_other_words
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.evaluate.recognition import Ranks
from erasure.lora.file import read_lora
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.stage import Stage
from erasure.verdict.measurement import MeasureTask


def attack_settings(options: SuiteOptions) -> AttackSettings:
    """Return how the attacks are made. Raises: ConfigError with every problem."""
    return AttackSettings(options.attacks or AttackSettings.attacks, search_rows=options.attack_rows)


def attack_figures(
    checkpoint: CheckpointInfo,
    digest: str,
    lora: Path,
    space: ConceptSpace,
    config: EraseConfig,
    target_set: TargetSet,
    judges: dict[str, Ranks],
    judge_name: str,
    options: SuiteOptions,
    base: Path,
    *,
    device: str = "cpu",
) -> Generator[Stage, None, tuple[dict[str, float], dict[str, float]]]:
    """Attack what a LoRA erases; return the figures before erasing and after it.

    ``space`` and ``config`` are those of the target set, the same for all methods; ``judge_name`` tells ``judges`` from
    others. What the attacks found lies beside the LoRA, and the untouched model's pictures below ``base``, where all
    methods share them. Raises: EraseError.
    """
    group = next(group for group in target_set.groups if group.erased)
    classifier = second_opinion(judges[group.judge], {shot.label for shot in group.shots})
    siege = Siege(
        MeasureTask(checkpoint, read_lora(lora), config),
        attack_settings(options),
        lora.parent / "attacks",
        (read_other_words(),),
        classifier,
        f"{judge_name}, {group.judge}",
        base / f"attacks-{target_set.name}-{space_key(config, digest)}.safetensors",
        device,
    )
    report = yield from besiege(siege, space)
    return figures(report.outcomes, untouched=True), figures(report.outcomes)
