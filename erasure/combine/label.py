"""What a combined LoRA says of itself: what it was made of, and the settings of its parts together."""

from __future__ import annotations

from datetime import datetime

from erasure.combine.summing import Sum
from erasure.combine.task import CombineTask
from erasure.lora.metadata import combined_metadata
from erasure.lora.parts import Combination, parts_named


def label(task: CombineTask, combination: Combination, made: Sum, when: datetime) -> dict[str, str]:
    """Return the metadata of the new file. Layers, rank and numbers are its own, whatever its parts' settings are."""
    config = task.joint.config
    rank = max(layer.rank for layer in made.layers)
    own = {"layers": task.layers, "rank": rank, "alpha": made.alpha, "save_precision": made.precision}
    used = None if config is None else {**config.to_dict(), **own}
    left_out = {layer.name: round(layer.left_out, 6) for layer in made.layers if layer.left_out}
    side = 0 if config is None else config.resolution
    return combined_metadata(
        name=task.out.stem,
        family=task.family,
        prediction=task.prediction,
        erases=task.joint.erases,
        config=used,
        asked=None if config is None else config.asked,
        names=task.joint.along,
        combined={**combination.to_dict(), "layers": left_out},
        merged_from=parts_named(task.parts),
        base=task.base,
        made=when,
        side=side or task.family.full.pixels,
    )
