"""Markdown tables of results."""

from __future__ import annotations

import math
from collections.abc import Sequence

from erasure.bench.results import Row
from erasure.bench.statistics import (
    Summary,
    base_figure,
    by_variant,
    cost,
    figure,
    metric_names,
    on_first_machine,
    paired,
)


def main_table(rows: Sequence[Row]) -> str:
    """Return a table of methods by figures, mean ± standard deviation over runs, with what training cost.

    Minutes are means over the runs on one machine, that of the first row.
    """
    names = metric_names(rows)
    lines = [
        _row(["method", "runs", *names, "updates", "rows of the U-Net", "rows before", "minutes"]),
        _rule(len(names) + 6),
    ]
    sets = len({row["set"] for row in rows})
    lines.append(
        _row(["the checkpoint itself", f"{sets} sets", *(_mean(base_figure(rows, n)) for n in names), "", "", "", ""])
    )
    timed = by_variant(on_first_machine(rows))
    for variant, runs in by_variant(rows).items():
        figures = [_figure(figure(runs, name)) for name in names]
        training, space = cost(runs, "rows_training").mean, cost(runs, "rows_space").mean
        costs = [f"{cost(runs, 'updates').mean:.0f}", f"{training:,.0f}", f"{space:,.0f}"]
        seconds = cost(timed.get(variant, []), "seconds_training")
        lines.append(
            _row([variant, str(len(runs)), *figures, *costs, f"{seconds.mean / 60:.1f}" if seconds.runs else ""])
        )
    return "\n".join(lines) + "\n"


def paired_table(rows: Sequence[Row], reference: str) -> str:
    """Return a table of differences from ``reference`` on the same sets and seeds, mean ± standard error.

    Returns "" if there is nothing to compare.
    """
    variants = by_variant(rows)
    if reference not in variants or len(variants) < 2:
        return ""
    names = metric_names(rows)
    lines = [_row([f"minus {reference}", "pairs", *names]), _rule(len(names) + 2)]
    for variant, runs in variants.items():
        found = [paired(runs, variants[reference], name) for name in names]
        if variant != reference and found[0].runs:
            lines.append(_row([variant, str(found[0].runs), *(_difference(s) for s in found)]))
    return "\n".join(lines) + "\n"


def set_table(rows: Sequence[Row]) -> str:
    """Return a table of each target set on its own: means over seeds."""
    names = metric_names(rows)
    lines = [_row(["target set", "method", "seeds", *names]), _rule(len(names) + 3)]
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        title = f"{name} ({', '.join(own[0]['erase'])})"
        lines.append(_row([title, "the checkpoint itself", "", *(_mean(base_figure(own, n)) for n in names)]))
        for variant, runs in by_variant(own).items():
            seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in runs}))
            lines.append(_row(["", variant, seeds, *(_mean(figure(runs, n)) for n in names)]))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    # A method's name may contain anything that a setting may, "|" included.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rule(columns: int) -> str:
    return "|---" * columns + "|"


def _mean(s: Summary) -> str:
    return f"{s.mean:.1f}" if s.runs else ""


def _figure(s: Summary) -> str:
    return _mean(s) + ("" if math.isnan(s.spread) else f" ± {s.spread:.1f}")


def _difference(s: Summary) -> str:
    if not s.runs:
        return ""
    error = "" if math.isnan(s.spread) else f" ± {s.spread / math.sqrt(s.runs):.1f}"
    return f"{s.mean:+.1f}{error}"
