"""How long a bench will still take, judged by how long its cells took so far."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from statistics import fmean

from erasure.bench.cell import Cell
from erasure.bench.results import Row


class Eta:
    """Counts cells down. A variant that was never timed is expected to take as long as the mean of all others."""

    def __init__(self, rows: Iterable[Row], cells: Sequence[Cell], *, workers: int = 1):
        """``rows``: finished ones, which were timed; ``cells``: those still to be run."""
        self._workers = workers
        self._timed: list[tuple[str, float]] = [(row["variant"], row["seconds"]) for row in rows if row.get("seconds")]
        self._left = {(cell.variant.name, cell.set, cell.seed) for cell in cells}
        self._total = len(self._left)
        self._last = time.monotonic()

    def ended(self, variant: str, name: str, seed: int, seconds: float | None) -> None:
        """Note that a cell ended: after so many seconds, or None if it failed."""
        self._left.discard((variant, name, seed))
        self._last = time.monotonic()
        if seconds is not None:
            self._timed.append((variant, seconds))

    def counter(self) -> str:
        """Return ended and all cells, ``[3/16]``."""
        return f"[{self._total - len(self._left)}/{self._total}]"

    def left(self) -> str:
        """Return the time left for people, ``about 30 min left``."""
        if not self._left:
            return "done"
        if not self._timed:
            return "time left not known yet"
        usual = fmean(seconds for _, seconds in self._timed)
        total = sum(self._expected(variant, usual) for variant, _, _ in self._left)
        minutes = max(0.0, total / self._workers - (time.monotonic() - self._last)) / 60
        return f"about {minutes / 60:.1f} h left" if minutes > 90 else f"about {minutes:.0f} min left"

    def _expected(self, variant: str, usual: float) -> float:
        own = [seconds for name, seconds in self._timed if name == variant]
        return fmean(own) if own else usual
