"""The same grid on Ray (an optional extra): cells do not depend on each other, so each is a task for any machine.

Every machine needs the checkpoint at the same path, and writes LoRA files and pictures below the bench's folder, which
can be on a shared disk. The results file is written by this process alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from erasure.bench.cell import Cell
from erasure.bench.grid import GridEvent, Todo, completed, record, record_failure, torch_threads
from erasure.bench.results import Row
from erasure.bench.work import work
from erasure.errors import EraseError, EvaluationError
from erasure.evaluate.extras import need
from erasure.model.drawing import run_to_end

PACKAGE_ROOT = Path(__file__).parents[2]


def run_on_ray(todo: Sequence[Todo], *, address: str = "", workers: int = 0) -> Iterator[GridEvent]:
    """Do what :func:`erasure.bench.grid.run_here` does, on a Ray cluster; yield events in the order in which cells end.

    Without ``address`` a cluster is started on this machine, with so many ``workers`` (0: one per core).

    Raises: MissingExtra if ray is not installed; EvaluationError if the cluster cannot be reached.
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
        raise EvaluationError(
            f"Ray cannot be reached at {address or 'this machine'}: {error}. Check --ray-address, or leave it out to "
            "use this machine."
        ) from error
    try:
        remote = ray.remote(num_cpus=1, num_gpus=gpus)(_row)
        running = {remote.remote(one.cell): one for one in todo}
        while running:
            (ended,), _ = ray.wait(list(running), num_returns=1)
            one = running.pop(ended)
            try:
                result: Row | str = ray.get(ended)
            except Exception as error:  # a worker can die of anything
                result = f"{type(error).__name__}: {error}"
            if isinstance(result, str):
                yield record_failure(one.cell, result)
            else:
                yield from record(one, result)
    finally:
        ray.shutdown()


def _row(cell: Cell) -> Row | str:
    """Work on a cell, on a worker; return its row, or what went wrong."""
    began = time.perf_counter()
    with torch_threads(cell.bench.threads):
        try:
            return completed(cell, run_to_end(work(cell)), began)
        except EraseError as error:
            # Some of these errors cannot be pickled, so their text travels instead.
            return f"{type(error).__name__}: {error}"
