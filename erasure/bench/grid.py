"""The grid: which cells there are, which are done, and the rest one after another, here or on Ray."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.bench.cell import Bench, Cell
from erasure.bench.results import Row, append_row, finished, read_rows, work_key
from erasure.bench.suites import suite
from erasure.bench.variant import Variant
from erasure.bench.work import RESULTS, Progress, row_identity, work
from erasure.errors import ConfigError
from erasure.model.checkpoint import inspect_checkpoint, sha256


@dataclass(frozen=True)
class Todo:
    """Work to be done once; ``also``: the other cells that are the same work under another name."""

    cell: Cell
    also: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Finished:
    row: Row


@dataclass(frozen=True)
class Failed:
    cell: Cell
    problem: str


@dataclass(frozen=True)
class Underway:
    cell: Cell
    progress: Progress


GridEvent = Finished | Failed | Underway


def cells(
    bench: Bench, variants: Sequence[Variant], sets: Sequence[str], seeds: Sequence[int], part: tuple[int, int] = (1, 1)
) -> list[Cell]:
    """Seed by seed, so that a bench that is stopped early has compared the methods on every set.

    ``part`` (i, n) takes every n-th target set and seed from the i-th on, all methods together: for several processes.
    """
    places = [(seed, name) for seed in seeds for name in sets]
    mine = places[part[0] - 1 :: part[1]]
    return [Cell(bench, name, variant, seed) for seed, name in mine for variant in variants]


def jobs(grid: Sequence[Cell]) -> list[Todo]:
    """What is still to be done; names for work that is already done get their rows here.

    Raises: ConfigError with the problems of all cells together.
    """
    if not grid:
        return []
    results = grid[0].bench.folder / RESULTS
    done: dict[tuple[Any, ...], Row] = {}
    named = set()
    for row in finished(read_rows(results)):
        done[work_key(row)] = row
        named.add((row["variant"], *work_key(row)))
    todo: dict[tuple[Any, ...], list[Cell]] = {}
    for cell, identity in _identities(grid):
        key = work_key(identity)
        if key not in done:
            todo.setdefault(key, []).append(cell)
        elif (cell.variant.name, *key) not in named:
            named.add((cell.variant.name, *key))
            append_row(results, {**done[key], "variant": cell.variant.name})
    return [Todo(same[0], tuple(same[1:])) for same in todo.values()]


def _identities(grid: Sequence[Cell]) -> Iterator[tuple[Cell, Row]]:
    bench = grid[0].bench
    chosen = suite(bench.suite, bench.options)
    digest = sha256(inspect_checkpoint(bench.checkpoint).path)
    problems, found = [], []
    for cell in grid:
        try:
            target_set = chosen.set(cell.set)
            found.append((cell, row_identity(cell, chosen, target_set, cell.config(target_set), digest)))
        except ConfigError as error:
            problems += [f"{cell.variant.name} on {cell.set}: {text}" for text in error.problems]
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    yield from found


def run_here(todo: Iterable[Todo]) -> Iterator[GridEvent]:
    """One job after another in this process. Rows are in the results file before they are yielded.

    A job that fails does not stop the others; it is tried again when the bench is started again.
    """
    for job in todo:
        set_threads(job.cell.bench.threads)
        began = time.perf_counter()
        try:
            working = work(job.cell)
            while True:
                try:
                    yield Underway(job.cell, next(working))
                except StopIteration as stop:
                    row = stop.value
                    break
        except Exception as error:  # hours of other cells must not be lost to one
            yield record_failure(job.cell, error)
            continue
        yield from record(
            job, {**row, "seconds": round(time.perf_counter() - began, 1), "machine": machine(job.cell.bench.devices)}
        )


def record(job: Todo, row: Row) -> Iterator[GridEvent]:
    """Append the row, once per name."""
    results = job.cell.bench.folder / RESULTS
    for cell in (job.cell, *job.also):
        named = {**row, "variant": cell.variant.name}
        append_row(results, named)
        yield Finished(named)


def record_failure(cell: Cell, error: BaseException) -> GridEvent:
    problem = f"{type(error).__name__}: {error}"
    failed = {"suite": cell.bench.suite, "set": cell.set, "variant": cell.variant.name, "seed": cell.seed}
    append_row(cell.bench.folder / RESULTS, {**failed, "problem": problem})
    return Failed(cell, problem)


def set_threads(threads: int) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)
    # Values near 0 are slow on CPUs and change nothing that can be measured here.
    torch.set_flush_denormal(True)


def machine(devices: Sequence[str]) -> dict[str, Any]:
    """What a row should say of where it was made, on these torch devices; no names of hosts or users."""
    import diffusers
    import torch

    processor = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    gpus = dict.fromkeys(torch.cuda.get_device_name(device) for device in devices if device.startswith("cuda"))
    return {
        "system": platform.system(),
        "processor": processor,
        "cores": os.cpu_count(),
        "gpu": ", ".join(gpus),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def expected_seconds(rows: Iterable[Row]) -> dict[str, float]:
    """Mean seconds of a cell by variant, and under "" of all; nothing known: empty."""
    seen: dict[str, list[float]] = {}
    for row in finished(rows):
        for name in (row["variant"], ""):
            seen.setdefault(name, []).append(row.get("seconds", 0.0))
    return {name: sum(values) / len(values) for name, values in seen.items()}
