"""How many updates a refinement makes: as many as a number of U-Net rows allows. Needs no torch."""

from __future__ import annotations

from typing import Any

from erasure.config.settings import EraseConfig, settings
from erasure.config.settle import with_changes
from erasure.errors import shown
from erasure.run.forecast import forecast_rows
from erasure.training.joint_start_sizes import start_rows
from erasure.training.row_count import rows_per_update

ROWS = 600
_MOST = 10_000_000
# A training that nobody watches, and that begins where nearly all is done, goes at this share of the usual rate.
GENTLE = 0.25
_FEWEST = 10  # updates: rather without looks than fewer


def rows_problems(rows: Any) -> list[str]:
    """Return what is wrong with a number of rows from outside, none or one line."""
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= _MOST:
        return [f"rows: {shown(rows)} is not a whole number from 1 to {_MOST:,}"]
    return []


def within(config: EraseConfig, rows: int, parents: int) -> EraseConfig:
    """Return the config with as many updates, at least one, as ``rows`` allow for the start from so many ``parents``,
    for training and for looks.

    Where looks would take most of them, it makes its updates without any, and gently.
    """
    rows = rows - int(start_rows(config, parents).total)
    looking = _updates(config, rows)
    if looking >= _FEWEST or not config.look_every:
        return with_changes(config, steps=max(1, looking))
    asked = config.asked or {}
    gentle = {"learning_rate": GENTLE * config.learning_rate, "pace": 0.0, "warmup": 2}
    blind = with_changes(config, look_every=0, **{k: v for k, v in gentle.items() if k not in asked})
    return with_changes(blind, steps=max(1, _updates(blind, rows)))


def _updates(config: EraseConfig, rows: int) -> int:
    """Return the most updates whose training and looks take no more rows; 0 if the first look takes them all."""
    each = rows_per_update(with_changes(config, steps=_FEWEST)).total
    least, most = 0, min(max(0, int(rows / each)), int(settings()["steps"].high or 1))
    while least < most:  # rows grow with updates
        middle = (least + most + 1) // 2
        book = forecast_rows(with_changes(config, steps=middle))
        if book["training"].total + book["looks"].total <= rows:
            least = middle
        else:
            most = middle - 1
    return least
