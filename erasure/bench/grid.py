"""The grid: its cells, which of them are done, and running the others one after another in this process."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from erasure.bench.cell import Bench, Cell
from erasure.bench.results import Identity, Machine, Measured, Row, append_row, finished, read_rows, work_key
from erasure.bench.suites import suite
from erasure.bench.variant import Variant
from erasure.bench.work import RESULTS, Progress, row_identity, work
from erasure.errors import ConfigError
from erasure.model.checkpoint import inspect_checkpoint, sha256
from erasure.model.drawing import relayed


@dataclass(frozen=True)
class Todo:
    """Work to be done once; ``also`` lists the cells that are the same work under another name."""

    cell: Cell
    also: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A cell was measured, and its row is in the results file."""

    row: Row


@dataclass(frozen=True)
class Failed:
    """A cell could not be measured; ``problem`` says why."""

    cell: Cell
    problem: str


@dataclass(frozen=True)
class Underway:
    """A cell is being worked on."""

    cell: Cell
    progress: Progress


GridEvent = Finished | Failed | Underway


def cells(
    bench: Bench, variants: Sequence[Variant], sets: Sequence[str], seeds: Sequence[int], part: tuple[int, int] = (1, 1)
) -> list[Cell]:
    """List the cells seed by seed, so that a bench that is stopped early has still compared the methods on every set.

    ``part`` (i, n) shares the grid among n processes: it takes every n-th pair of target set and seed from the i-th
    on, with all methods.
    """
    places = [(seed, name) for seed in seeds for name in sets]
    mine = places[part[0] - 1 :: part[1]]
    return [Cell(bench, name, variant, seed) for seed, name in mine for variant in variants]


def todo_of(grid: Sequence[Cell]) -> list[Todo]:
    """Return the work that is still to be done.

    A cell whose work was done under another name gets its row now. Raises: ConfigError with the problems of all cells.
    """
    if not grid:
        return []
    results = grid[0].bench.folder / RESULTS
    done: dict[tuple[object, ...], Row] = {}
    named: set[tuple[object, ...]] = set()
    for row in finished(read_rows(results)):
        done[work_key(row)] = row
        named.add((row["variant"], *work_key(row)))
    todo: dict[tuple[object, ...], list[Cell]] = {}
    for cell, identity in _identities(grid):
        key = work_key(identity)
        if key not in done:
            todo.setdefault(key, []).append(cell)
        elif (cell.variant.name, *key) not in named:
            named.add((cell.variant.name, *key))
            append_row(results, {**done[key], "variant": cell.variant.name})
    return [Todo(same[0], tuple(same[1:])) for same in todo.values()]


def _identities(grid: Sequence[Cell]) -> list[tuple[Cell, Identity]]:
    bench = grid[0].bench
    chosen = suite(bench.suite, bench.options)
    digest = sha256(inspect_checkpoint(bench.checkpoint).path)
    problems: list[str] = []
    found: list[tuple[Cell, Identity]] = []
    for cell in grid:
        try:
            target_set = chosen.set(cell.set)
            found.append((cell, row_identity(cell, chosen, target_set, cell.config(target_set), digest)))
        except ConfigError as error:
            problems += [f"{cell.variant.name} on {cell.set}: {text}" for text in error.problems]
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return found


def run_here(todo: Iterable[Todo]) -> Iterator[GridEvent]:
    """Do the work in this process, one cell after another. A row is in the results file before it is yielded.

    A cell that fails does not stop the others; it is tried again when the bench is started again.
    """
    for one in todo:
        began = time.perf_counter()
        with torch_threads(one.cell.bench.threads):
            try:
                measured = yield from _underway(one.cell)
            except Exception as error:  # one cell must not cost hours of the others
                yield record_failure(one.cell, f"{type(error).__name__}: {error}")
                continue
            yield from record(one, completed(one.cell, measured, began))


def _underway(cell: Cell) -> Generator[GridEvent, None, Measured]:
    return relayed(work(cell), lambda progress: Underway(cell, progress))


def completed(cell: Cell, measured: Measured, began: float) -> Row:
    """Return the row of a cell that ends now; ``began``: in seconds of ``time.perf_counter``."""
    return {**measured, "seconds": round(time.perf_counter() - began, 1), "machine": machine(cell.bench.devices)}


def record(one: Todo, row: Row) -> Iterator[GridEvent]:
    """Append the row once for each of its names."""
    results = one.cell.bench.folder / RESULTS
    for cell in (one.cell, *one.also):
        named: Row = {**row, "variant": cell.variant.name}
        append_row(results, named)
        yield Finished(named)


def record_failure(cell: Cell, problem: str) -> GridEvent:
    """Append a row that says why the cell failed."""
    failed = {"suite": cell.bench.suite, "set": cell.set, "variant": cell.variant.name, "seed": cell.seed}
    append_row(cell.bench.folder / RESULTS, {**failed, "problem": problem})
    return Failed(cell, problem)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set how torch computes in this process, for a while; 0 leaves the number of threads to torch."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    # Denormal numbers are slow on CPUs, and too small to change any figure. But the whole process would be without
    # them, so others must get them back.
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


def machine(devices: Sequence[str]) -> Machine:
    """Describe this machine and these torch devices, without names of hosts or users."""
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
