"""The same grid on Ray (an optional extra): cells are independent, so each is one task, on any machine.

Every machine needs the checkpoint under the same path and writes LoRAs and pictures below the same folder; only the
results file is written by this process. On a shared disk, all is in one place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from erasure.bench.grid import GridEvent, Todo, machine, record, record_failure, set_threads
from erasure.bench.results import Row
from erasure.bench.work import work
from erasure.errors import EraseError, EvaluationError
from erasure.evaluate.extras import need

PACKAGE_ROOT = Path(__file__).parents[2]


def run_on_ray(todo: Sequence[Todo], *, address: str = "", workers: int = 0) -> Iterator[GridEvent]:
    """As :func:`erasure.bench.grid.run_here`, in the order in which cells end; without ``address`` on this machine.

    ``workers``: processes on this machine (its cores). Raises: MissingExtra without ray, EvaluationError if the
    cluster cannot be reached.
    """
    ray = need("ray", "ray", "pip install ray")
    gpus = 1 if todo and any(name.startswith("cuda") for name in todo[0].cell.bench.devices) else 0
    path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]))
    options: dict[str, Any] = {"address": address} if address else {"num_cpus": workers or os.cpu_count()}
    try:
        ray.init(
            **options, runtime_env={"env_vars": {"PYTHONPATH": path}}, log_to_driver=False, include_dashboard=False
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise EvaluationError(f"Ray cannot be reached at {address or 'this machine'}: {error}") from error
    try:
        remote = ray.remote(num_cpus=1, num_gpus=gpus)(_row)
        running = {remote.remote(job.cell): job for job in todo}
        while running:
            (ended,), _ = ray.wait(list(running), num_returns=1)
            job = running.pop(ended)
            try:
                row = ray.get(ended)
            except Exception as error:  # whatever the worker died of
                yield record_failure(job.cell, error)
                continue
            if "problem" in row:
                yield record_failure(job.cell, EraseError(row["problem"]))
            else:
                yield from record(job, row)
    finally:
        ray.shutdown()


def _row(cell: Any) -> Row:
    """Runs on a worker."""
    set_threads(cell.bench.threads)
    began = time.perf_counter()
    working = work(cell)
    try:
        while True:
            next(working)
    except StopIteration as stop:
        return {**stop.value, "seconds": round(time.perf_counter() - began, 1), "machine": machine(cell.bench.devices)}
    except EraseError as error:
        # Errors with arguments of their own do not survive pickling.
        return {"problem": f"{type(error).__name__}: {error}"}
