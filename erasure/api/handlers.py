"""What each route does: functions from a :class:`Call` to JSON values, a file or other content."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.api.answers import (
    ErrandSnapshot,
    config_dict,
    errand_dict,
    job_dict,
    schema,
    without_places_in,
)
from erasure.api.asked import (
    asked_bake,
    asked_check,
    asked_combination,
    asked_concepts,
    asked_confirmation,
    asked_job,
    asked_measurement,
    asked_refinement,
    asked_rules,
    asked_share,
    asked_upload,
    unknown_fields,
)
from erasure.config.presets import KINDS, QUALITIES, Preset, delete_preset, presets, save_preset
from erasure.config.settle import notes_of
from erasure.errors import ConfigError, JobNotFound, RunError
from erasure.host.base import Host
from erasure.host.data_folder import DataFolder
from erasure.host.kept_on import kept_on, refuse_broken
from erasure.jobs.checking import check_checkpoint, check_received
from erasure.jobs.manager import JobManager
from erasure.jobs.order import coming_names
from erasure.jobs.uploading import Uploading
from erasure.share.order import LICENSES

# The characters of a job's id: none of them has a meaning in a path.
_ID = re.compile(r"[\w-][\w.-]{0,200}")
# By what the last part of the path is; each is a method of the manager.
_ACTIONS = {"pause": "pause", "resume": "resume", "stop": "stop", "discard": "discard", "train-on": "train_on"}


@dataclass(frozen=True)
class Call:
    """One request: the parts of its path, its query and its JSON body (an object)."""

    manager: JobManager
    host: Host
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Return the job's id in the path. Raises: JobNotFound if it cannot be an id."""
        id = self.path["id"]
        if not _ID.fullmatch(id) or ".." in id:
            raise JobNotFound(f"there is no job {id[:50]!r}")
        return id

    @property
    def presets(self) -> Path:
        """Return the folder of the user's presets."""
        return DataFolder(self.host.data_folder()).presets

    def job(self) -> dict[str, Any]:
        """Return the job in the path as JSON."""
        return job_dict(self.manager.snapshot(self.id), self.host)


@dataclass(frozen=True)
class File:
    """A file as an answer; ``name`` is what it is called when it is saved."""

    path: Path
    kind: str
    name: str | None = None


@dataclass(frozen=True)
class Content:
    """Bytes that were made for one answer."""

    data: bytes
    kind: str


Handler = Callable[[Call], "dict[str, Any] | File | Content"]


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


def _errand(call: Call, errand: ErrandSnapshot | None, nothing: str) -> dict[str, Any]:
    """Return an errand; ``nothing``: what to say if there was none."""
    if errand is None:
        raise JobNotFound(nothing)
    return errand_dict(errand, call.host)


def start_measuring(call: Call) -> dict[str, Any]:
    """It takes minutes, so the answer does not wait for its end."""
    return errand_dict(call.manager.measure(asked_measurement(call.host, call.body)), call.host)


def get_measurement(call: Call) -> dict[str, Any]:
    return _errand(call, call.manager.measurement(), "no LoRA has been measured since the program started")


def cancel_measurement(call: Call) -> dict[str, Any]:
    call.manager.cancel_measurement()
    return get_measurement(call)


def start_baking(call: Call) -> dict[str, Any]:
    """It may take minutes, so the answer does not wait for its end."""
    return errand_dict(call.manager.bake(asked_bake(call.host, call.body)), call.host)


def get_bake(call: Call) -> dict[str, Any]:
    return _errand(call, call.manager.bake_snapshot(), "nothing has been baked since the program started")


def cancel_bake(call: Call) -> dict[str, Any]:
    call.manager.cancel_bake()
    return get_bake(call)


def start_combining(call: Call) -> dict[str, Any]:
    """It takes seconds, but the answer does not wait for its end."""
    return errand_dict(call.manager.combine(asked_combination(call.host, call.body)), call.host)


def get_combination(call: Call) -> dict[str, Any]:
    return _errand(call, call.manager.combine_snapshot(), "nothing has been combined since the program started")


def get_combination_pictures(call: Call) -> Content:
    pictures = call.manager.combine_pictures()
    if pictures is None:
        raise JobNotFound("the last combination has no pictures")
    return Content(pictures, "image/png")


def cancel_combination(call: Call) -> dict[str, Any]:
    call.manager.cancel_combine()
    return get_combination(call)


def check_lora(call: Call) -> dict[str, Any]:
    """Takes no device; the first time, all of the checkpoint is read."""
    lora, checkpoint = asked_check(call.host, call.body)
    found = check_checkpoint(checkpoint) if lora is None else check_received(lora, checkpoint)
    return without_places_in(found.to_dict(), call.host)


def share_lora(call: Call) -> dict[str, Any]:
    order, overwrite = asked_share(call.host, call.manager, call.body)
    return without_places_in(call.manager.sharing.share(order, overwrite=overwrite).to_dict(), call.host)


def list_shared(call: Call) -> dict[str, Any]:
    return {"shared": call.manager.sharing.names(), "licenses": dict(LICENSES)}


def get_shared(call: Call) -> File:
    path = call.manager.sharing.zip_file(call.path["name"])
    return File(path, "application/zip", path.name)


def offer_upload(call: Call) -> dict[str, Any]:
    """It asks the Hub whose login it is, and sends nothing else."""
    return _uploading(call).offer(asked_upload(call.body)).to_dict()


def start_upload(call: Call) -> dict[str, Any]:
    """It may take minutes, so the answer does not wait for its end."""
    return errand_dict(_uploading(call).start(asked_confirmation(call.body)), call.host)


def get_upload(call: Call) -> dict[str, Any]:
    return _errand(call, _uploading(call).snapshot(), "nothing has been uploaded since the program started")


def cancel_upload(call: Call) -> dict[str, Any]:
    _uploading(call).cancel()
    return get_upload(call)


def _uploading(call: Call) -> Uploading:
    """Raises: RunError if uploads are off."""
    if call.manager.uploading.off:
        raise RunError(call.manager.uploading.off)
    return call.manager.uploading


def get_always_on(call: Call) -> dict[str, Any]:
    listed = call.host.always_on()
    rules = [kept.to_dict() for kept in kept_on(call.host)]
    return without_places_in({"rules": rules, "fixed": listed.fixed, "problems": list(listed.problems)}, call.host)


def put_always_on(call: Call) -> dict[str, Any]:
    rules = asked_rules(call.body)
    refuse_broken(call.host, rules)
    call.host.set_always_on(rules)
    return get_always_on(call)


def list_presets(call: Call) -> dict[str, Any]:
    bundled = presets()
    every = presets(call.presets).values()
    return {
        "presets": [_preset_dict(preset, preset.name in bundled) for preset in every],
        "kinds": list(KINDS),
        "qualities": list(QUALITIES),
    }


def put_preset(call: Call) -> dict[str, Any]:
    problems = unknown_fields(call.body, ("description", "settings", "overwrite"))
    description, settings = call.body.get("description", ""), call.body.get("settings")
    overwrite = call.body.get("overwrite", False)
    if not isinstance(overwrite, bool):
        problems.append("overwrite: must be true or false")
    if settings is None:
        problems.append("settings: missing; must be an object, setting -> value")
    if problems:
        raise ConfigError(problems)
    name = call.path["name"]
    return _preset_dict(save_preset(call.presets, name, description, settings or {}, overwrite=overwrite))


def remove_preset(call: Call) -> dict[str, Any]:
    name = call.path["name"]
    if name not in presets(call.presets):
        raise JobNotFound(f"there is no preset {name[:60]!r}")
    delete_preset(call.presets, name)
    return {"name": name, "deleted": True}


def get_schema(call: Call) -> dict[str, Any]:
    return schema()


def list_checkpoints(call: Call) -> dict[str, Any]:
    current = call.host.current_checkpoint()
    return {
        "checkpoints": [{"title": one.title, "file": one.path.name} for one in call.host.checkpoints()],
        "current": current.title if current else None,
    }


def _preset_dict(preset: Preset, bundled: bool = False) -> dict[str, Any]:
    return {
        "name": preset.name,
        "description": preset.description,
        "settings": config_dict(preset.settings),
        "qualities": list(preset.qualities),
        "bundled": bundled,
    }


def _refuse_fields(call: Call) -> None:
    problems = unknown_fields(call.body, ())
    if problems:
        raise ConfigError(problems)
