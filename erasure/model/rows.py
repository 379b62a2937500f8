"""U-Net rows by purpose: counted as they are evaluated, and forecast in the same terms before a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Purpose = Literal[
    "synonyms", "hostile", "start", "training", "looks", "verdict", "pictures", "check", "cost", "attacks", "other"
]  # fmt: skip
"""``synonyms``: measuring the concept space; ``hostile``: measuring which other wordings are understood; ``start``: the
closed form that training starts from; ``looks``: at what is gone, during training; ``verdict``: judging before and
after it; ``pictures``: previews and those before and after; ``check``: a picture with the finished file; ``cost``:
timing an update; ``attacks``: attacks on an erasure; ``other``: rows without a purpose."""


@dataclass(frozen=True)
class Rows:
    """A number of rows; one row is one latent with one prompt.

    ``gradient``: how many of them are kept for a backward pass. ``calls``: of the U-Net, with any number of rows; a
    call without gradients that is split to save memory counts once. Forecast numbers need not be whole, and those of
    calls are for models that take all rows of an update at once.
    """

    total: float = 0
    gradient: float = 0
    calls: float = 0

    def __add__(self, other: Rows) -> Rows:
        return Rows(self.total + other.total, self.gradient + other.gradient, self.calls + other.calls)

    def __mul__(self, times: float) -> Rows:
        return Rows(self.total * times, self.gradient * times, self.calls * times)


class RowBook:
    """Rows by purpose: ``book["training"]`` are those of training, zero if none were counted."""

    def __init__(self, rows: Mapping[Purpose, Rows] | None = None) -> None:
        self._rows: dict[Purpose, Rows] = dict(rows or {})
        self._purpose: Purpose = "other"

    def __getitem__(self, purpose: Purpose) -> Rows:
        return self._rows.get(purpose, Rows())

    def __setitem__(self, purpose: Purpose, rows: Rows) -> None:
        self._rows[purpose] = rows

    def __iter__(self) -> Iterator[Purpose]:
        return iter(self._rows)

    @property
    def all(self) -> Rows:
        """The rows of all purposes together."""
        return sum(self._rows.values(), Rows())

    def count(self, rows: float, *, gradient: bool = False, calls: float = 1) -> None:
        """Count one call of the U-Net (or several), for the current :meth:`purpose`."""
        self[self._purpose] += Rows(rows, rows if gradient else 0, calls)

    @contextmanager
    def purpose(self, purpose: Purpose) -> Iterator[None]:
        """Count rows inside the block for this purpose; the innermost block decides.

        A generator should leave the block before it yields, since its reader's rows have another purpose.
        """
        before, self._purpose = self._purpose, purpose
        try:
            yield
        finally:
            self._purpose = before
