"""Which task is being worked on, and how far it is: what the progress bar in the page asks for."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

from modules import shared

current_task: str | None = None
pending_tasks: OrderedDict[str, float] = OrderedDict()
finished_tasks: list[str] = []


def create_task_id(task_type: str) -> str:
    return f"task({task_type}-{secrets.token_hex(4)})"


def add_task_to_queue(id_job: str) -> None:
    pending_tasks[id_job] = time.time()


def start_task(id_task: str) -> None:
    global current_task
    current_task = id_task
    pending_tasks.pop(id_task, None)


def finish_task(id_task: str) -> None:
    global current_task
    if current_task == id_task:
        current_task = None
    finished_tasks.append(id_task)


def progressapi(req: Any) -> SimpleNamespace:
    """Return the progress of ``req.id_task``, the task that a page waits for."""
    active = req.id_task == current_task
    answer = SimpleNamespace(
        active=active,
        queued=req.id_task in pending_tasks,
        completed=req.id_task in finished_tasks,
        progress=0.0,
        textinfo=shared.state.textinfo if active else "Waiting...",
        live_preview=shared.state.current_image if active else None,
    )
    state = shared.state
    if active and state.job_count > 0:
        within = state.sampling_step / state.sampling_steps if state.sampling_steps > 0 else 0.0
        answer.progress = min((state.job_no + within) / state.job_count, 1.0)
    return answer
