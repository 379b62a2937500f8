"""U-Net rows by what they are for: counted as they are evaluated, and told in the same terms before a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Purpose = Literal["synonyms", "training", "pictures", "check", "cost", "other"]
"""``synonyms``: measuring the concept space; ``pictures``: those before, after and on the way; ``check``: the finished
file's own picture; ``cost``: timing an update; ``other``: what names no purpose."""


@dataclass(frozen=True)
class Rows:
    """One row is one latent with one prompt. ``gradient``: those of them that were kept for a backward pass.

    ``calls`` of the U-Net, whatever their number of rows; one that is split to save memory counts once. Counted rows
    are whole numbers, expected ones need not be.
    """

    total: float = 0
    gradient: float = 0
    calls: float = 0

    def __add__(self, other: Rows) -> Rows:
        return Rows(self.total + other.total, self.gradient + other.gradient, self.calls + other.calls)

    def __mul__(self, times: float) -> Rows:
        return Rows(self.total * times, self.gradient * times, self.calls * times)


class RowBook:
    """Rows by purpose. ``book["training"]`` are those of training; what was never counted is no row."""

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
        """Of every purpose together."""
        return sum(self._rows.values(), Rows())

    def count(self, rows: float, *, gradient: bool = False, calls: float = 1) -> None:
        """One call of the U-Net (or several), for the purpose of the block that it is in."""
        self[self._purpose] += Rows(rows, rows if gradient else 0, calls)

    @contextmanager
    def purpose(self, purpose: Purpose) -> Iterator[None]:
        """Rows inside the block are for this; the innermost block decides.

        Leave it before a generator yields: what its reader does meanwhile has a purpose of its own.
        """
        before, self._purpose = self._purpose, purpose
        try:
            yield
        finally:
            self._purpose = before
