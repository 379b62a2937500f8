"""Means, spreads and paired differences of rows; everything that a table or picture shows is computed here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from erasure.bench.results import Row


@dataclass(frozen=True)
class Summary:
    """``spread``: standard deviation of single runs (n - 1); NaN for one run."""

    mean: float
    spread: float
    runs: int


def summary(values: Sequence[float]) -> Summary:
    mean = statistics.fmean(values) if values else math.nan
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return Summary(mean, spread, len(values))


def families(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by (suite, family), each of which is a table of its own."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["suite"], row["family"]), []).append(row)
    return found


def by_variant(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """In the order in which variants first appear."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["variant"], []).append(row)
    return found


def figure(rows: Iterable[Row], name: str, when: str = "after") -> Summary:
    """Of the runs that measured it."""
    return summary([row[when][name] for row in rows if name in row[when]])


def base_figure(rows: Iterable[Row], name: str) -> Summary:
    """Before any erasing, over target sets; each set counts once, however many runs it had."""
    sets = {row["set"]: row["before"][name] for row in rows if name in row["before"]}
    return summary(list(sets.values()))


def cost(rows: Iterable[Row], name: str) -> Summary:
    return summary([float(row[name]) for row in rows if name in row])


def on_first_machine(rows: Sequence[Row]) -> list[Row]:
    """Those made on the machine of the first row: times of different machines have no mean."""
    return [row for row in rows if row["machine"] == rows[0]["machine"]]


def paired(rows: Iterable[Row], others: Iterable[Row], name: str) -> Summary:
    """Difference (rows minus others) of runs on the same target set with the same seed."""

    def places(some: Iterable[Row]) -> dict[tuple[str, int], float]:
        return {(row["set"], row["seed"]): row["after"][name] for row in some if name in row["after"]}

    one, two = places(rows), places(others)
    return summary([one[place] - two[place] for place in one if place in two])


def metric_names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["after"]))
