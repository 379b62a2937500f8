"""What the routes do that measure, bake, combine, check, share and upload LoRAs, or keep them on."""

from __future__ import annotations

from typing import Any

from erasure.api.answers import ErrandSnapshot, errand_dict, without_places_in
from erasure.api.asked import (
    asked_bake,
    asked_check,
    asked_combination,
    asked_confirmation,
    asked_measurement,
    asked_rules,
    asked_share,
    asked_upload,
)
from erasure.api.call import Call, Content, File
from erasure.errors import JobNotFound, RunError
from erasure.host.kept_on import kept_on, refuse_broken
from erasure.jobs.checking import check_checkpoint, check_received
from erasure.jobs.uploading import Uploading
from erasure.share.order import LICENSES


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
