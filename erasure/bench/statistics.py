"""Means, spreads and paired differences of rows: every number that a table or plot shows is computed here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from erasure.bench.results import Row

Costs = Literal["rows_training", "rows_space", "seconds_training", "updates"]


@dataclass(frozen=True)
class Summary:
    """A mean over runs. ``spread`` is the sample standard deviation of single runs (n - 1), NaN for fewer than two."""

    mean: float
    spread: float
    runs: int


def summary(values: Sequence[float]) -> Summary:
    """Summarise the values of several runs; the mean of none is NaN."""
    mean = statistics.fmean(values) if values else math.nan
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return Summary(mean, spread, len(values))


def families(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Group rows by (suite, family); each group has tables of its own."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["suite"], row["family"]), []).append(row)
    return found


def by_variant(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Group rows by variant, in the order in which variants first appear."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["variant"], []).append(row)
    return found


def figure(rows: Iterable[Row], name: str, when: Literal["before", "after"] = "after") -> Summary:
    """Summarise a figure over the runs that measured it."""
    return summary([row[when][name] for row in rows if name in row[when]])


def base_figure(rows: Iterable[Row], name: str) -> Summary:
    """Summarise a figure of the checkpoint itself; each target set counts once, however many runs it had."""
    sets = {row["set"]: row["before"][name] for row in rows if name in row["before"]}
    return summary(list(sets.values()))


def cost(rows: Iterable[Row], name: Costs) -> Summary:
    """Summarise what training took."""
    return summary([float(row[name]) for row in rows if name in row])


def on_first_machine(rows: Sequence[Row]) -> list[Row]:
    """Keep the rows made on the machine of the first row: a mean of times on different machines says nothing."""
    return [row for row in rows if row["machine"] == rows[0]["machine"]]


def paired(rows: Iterable[Row], others: Iterable[Row], name: str) -> Summary:
    """Summarise the differences (rows minus others) between runs on the same target set with the same seed."""

    def places(some: Iterable[Row]) -> dict[tuple[str, int], float]:
        return {(row["set"], row["seed"]): row["after"][name] for row in some if name in row["after"]}

    one, two = places(rows), places(others)
    return summary([one[place] - two[place] for place in one if place in two])


def metric_names(rows: Iterable[Row]) -> list[str]:
    """Return the names of all figures that any row has, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row["after"]))
