"""What the routes of jobs do, and that of the concept space: functions from a :class:`Call` to an answer."""

from __future__ import annotations

import re
from typing import Any

from erasure.api.answers import job_dict
from erasure.api.asked import asked_concepts, asked_job, asked_refinement, unknown_fields
from erasure.api.call import Call, Content, File
from erasure.config.settle import notes_of
from erasure.errors import ConfigError, JobNotFound
from erasure.jobs.order import coming_names

# By what the last part of the path is; each is a method of the manager.
_ACTIONS = {"pause": "pause", "resume": "resume", "stop": "stop", "discard": "discard", "train-on": "train_on"}


def list_jobs(call: Call) -> dict[str, Any]:
    return {"jobs": [job_dict(job, call.host, short=True) for job in call.manager.snapshots()]}


def create_job(call: Call) -> dict[str, Any]:
    """With ``loras``, training starts from all of them."""
    if "loras" in call.body:
        id = call.manager.refine(*asked_refinement(call.host, call.body))
    else:
        id = call.manager.submit(asked_job(call.host, call.body, coming_names(call.manager.snapshots())))
    return job_dict(call.manager.snapshot(id), call.host)


def get_job(call: Call) -> dict[str, Any]:
    return call.job()


def act_on_job(call: Call) -> dict[str, Any]:
    _refuse_fields(call)
    action, id = call.path["action"], call.id
    if action not in _ACTIONS:
        raise JobNotFound(f"there is no action {action[:50]!r}; a job can {', '.join(_ACTIONS)}")
    getattr(call.manager, _ACTIONS[action])(id)
    return {"id": id, "discarded": True} if action == "discard" else call.job()


def delete_job(call: Call) -> dict[str, Any]:
    call.manager.delete(call.id)
    return {"id": call.id, "deleted": True}


def get_preview(call: Call) -> Content:
    id, step = call.id, call.path["step"]
    if not re.fullmatch(r"\d{1,9}", step, re.ASCII):
        raise JobNotFound(f"there is no preview of update {step[:50]!r}; the job's previews list those that exist")
    try:
        return Content(call.manager.preview(id, int(step)).png(), "image/png")
    except (OSError, ValueError) as error:
        raise JobNotFound(f"the pictures of update {step} cannot be read any more") from error


def get_lora(call: Call) -> File:
    path, job = call.manager.lora_path(call.id), call.manager.snapshot(call.id)
    name = job.result.name if job.result else job.name
    return File(path, "application/octet-stream", f"{name}.safetensors")


def get_concepts(call: Call) -> dict[str, Any]:
    """The answer waits for what may take minutes. Its notes say as well how the concepts' texts were read."""
    checkpoint, config = asked_concepts(call.host, call.body)
    found = call.manager.concepts(checkpoint, config)
    return {**found, "notes": [*notes_of(config), *found["notes"]]}


def _refuse_fields(call: Call) -> None:
    problems = unknown_fields(call.body, ())
    if problems:
        raise ConfigError(problems)
