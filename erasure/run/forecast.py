"""What a run will ask of the model, known before it starts: U-Net rows by purpose, and prompts. Needs no torch."""

from __future__ import annotations

from erasure.concepts.row_count import synonym_rows
from erasure.config.settings import EraseConfig
from erasure.model.draw_settings import DRAW_SETTINGS
from erasure.model.rows import RowBook
from erasure.training.row_count import rows_per_update

# How many subjects the pictures show at most: erased concepts, preserved ones, and the nearest neighbours of the first
# target. One more is far from it.
ERASED_SHOWN, PRESERVED_SHOWN, NEAR_SHOWN = 5, 2, 2
# Each prompt is drawn with these seeds, before and after.
SEEDS = (1, 2)


def forecast_rows(config: EraseConfig, sizes: tuple[int, ...] = ()) -> RowBook:
    """Return the rows that a whole run is expected to take. ``sizes``: K per target, if they are known."""
    neighbours = sizes[0] if sizes else config.neighbours
    prompts = min(ERASED_SHOWN, len(config.erase)) + min(PRESERVED_SHOWN, len(config.preserve))
    prompts += min(NEAR_SHOWN, neighbours) + (neighbours > NEAR_SHOWN)
    # Before, after and in between. The last update is no preview: its pictures are those from after.
    drawings = 2 + ((config.updates - 1) // config.preview_every if config.preview_every else 0)
    return RowBook(
        {
            "synonyms": synonym_rows(config),
            "training": rows_per_update(config, sizes) * config.updates,
            "pictures": DRAW_SETTINGS.rows(prompts * len(SEEDS)) * drawings,
            "check": DRAW_SETTINGS.rows(1),
        }
    )


def remembered_prompts(config: EraseConfig) -> int:
    """Return about how many different prompts a run embeds: candidates in every template, if it looks at them."""
    looked_at = config.neighbours if config.adversary not in ("anchor", "fixed", "none") else 0
    measured = config.neighbours if config.synonym_threshold else 0
    own = 2  # the target and its anchor
    return len(config.erase) * (len(config.templates) * (looked_at + own) + measured)
