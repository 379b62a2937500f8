"""How long a bench still takes, from how long its cells took so far."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from erasure.bench.cell import Cell
from erasure.bench.grid import expected_seconds
from erasure.bench.results import Row


class Eta:
    """Counts cells down; a variant that was never timed counts as the mean of the others."""

    def __init__(self, rows: Iterable[Row], cells: Sequence[Cell], *, workers: int = 1):
        self._workers = workers
        self._rows = [row for row in rows if row.get("seconds")]
        self._left = {(cell.variant.name, cell.set, cell.seed) for cell in cells}
        self._total = len(self._left)
        self._last = time.monotonic()

    def ended(self, variant: str, name: str, seed: int, seconds: float | None) -> None:
        self._left.discard((variant, name, seed))
        self._last = time.monotonic()
        if seconds is not None:
            self._rows.append(
                {"suite": "", "set": name, "seed": seed, "variant": variant, "seconds": seconds,
                 "config_key": str(len(self._rows)), "evaluation_key": ""}
            )  # fmt: skip

    def counter(self) -> str:
        return f"[{self._total - len(self._left)}/{self._total}]"

    def left(self) -> str:
        """In words."""
        if not self._left:
            return "done"
        seconds = expected_seconds(self._rows)
        if not seconds:
            return "time left not known yet"
        total = sum(seconds.get(variant, seconds[""]) for variant, _, _ in self._left)
        minutes = max(0.0, total / self._workers - (time.monotonic() - self._last)) / 60
        return f"about {minutes / 60:.1f} h left" if minutes > 90 else f"about {minutes:.0f} min left"
