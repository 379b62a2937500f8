"""Forecasts the U-Net rows of a siege. Needs no torch."""

from __future__ import annotations

from erasure.attacks.attack_settings import AttackSettings
from erasure.concepts.row_count import EMPTY_PICTURES, SCALE_PICTURES, UNRELATED, synonym_rows
from erasure.config.settings import EraseConfig
from erasure.judge.judge_settings import JUDGE_SETTINGS
from erasure.model.rows import Rows


def siege_rows(config: EraseConfig, settings: AttackSettings, wordings: int) -> dict[str, Rows]:
    """Return the rows of each attack on all concepts, at most; ``wordings``: of all concepts together.

    "before": for the concept space and for what the concepts look like.
    """
    targets = len(config.erase)
    known = SCALE_PICTURES + EMPTY_PICTURES + UNRELATED + settings.sources
    judged = JUDGE_SETTINGS.rows(1, 1)
    fresh = judged * settings.fresh_pictures
    found = {"before": synonym_rows(config) + judged * known * targets}
    if "words" in settings.attacks:
        found["words"] = judged * (2 * wordings * settings.pictures)
    if "search" in settings.attacks:
        found["search"] = Rows(settings.search_rows) * targets
    if "inversion" in settings.attacks:
        learnt = _trained(settings.inversion_steps, settings.batch)
        found["inversion"] = (learnt + fresh * 2) * len(settings.vectors) * targets
    if "finetune" in settings.attacks:
        trained = _trained(settings.finetune_looks[-1], settings.batch)
        found["finetune"] = (fresh + (trained + fresh * (1 + len(settings.finetune_looks))) * 2) * targets
    return found


def _trained(steps: int, batch: int) -> Rows:
    return Rows(steps * batch, gradient=steps * batch, calls=steps)
