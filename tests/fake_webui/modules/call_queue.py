"""One picture at a time: every generation holds ``queue_lock``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modules import fifo_lock, progress, shared

queue_lock = fifo_lock.FIFOLock()


def wrap_queued_call(func: Callable[..., Any]) -> Callable[..., Any]:
    def held(*args: Any, **kwargs: Any) -> Any:
        with queue_lock:
            return func(*args, **kwargs)

    return held


def wrap_gradio_gpu_call(func: Callable[..., Any], extra_outputs: Any = None) -> Callable[..., Any]:
    """Wrap the handler of a button; the first argument is the task's id. The flags are cleared *after* the lock is
    released, when the next task may hold it already."""

    def held(*args: Any, **kwargs: Any) -> Any:
        progress.add_task_to_queue(args[0])
        try:
            with queue_lock:
                shared.state.begin(job=args[0])
                progress.start_task(args[0])
                try:
                    result = func(*args, **kwargs)
                finally:
                    progress.finish_task(args[0])
                shared.state.end()
            return result
        finally:
            state = shared.state
            state.skipped = state.interrupted = state.stopping_generation = False
            state.job_count = 0
            state.job = ""

    return held
