"""What the routes do that list what can be chosen: presets, settings and checkpoints."""

from __future__ import annotations

from typing import Any

from erasure.api.answers import config_dict, schema
from erasure.api.asked import unknown_fields
from erasure.api.call import Call
from erasure.config.presets import KINDS, QUALITIES, Preset, delete_preset, presets, save_preset
from erasure.errors import ConfigError, JobNotFound


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
    description = call.body.get("description", "")
    settings: Any = call.body.get("settings")  # of any type: saving it says what is wrong with it
    overwrite = call.body.get("overwrite", False)
    if not isinstance(overwrite, bool):
        problems.append("overwrite: must be true or false")
    if settings is None:
        problems.append("settings: missing; must be an object, setting -> value")
    if problems:
        raise ConfigError(problems)
    name = call.path["name"]
    return _preset_dict(save_preset(call.presets, name, description, settings, overwrite=overwrite))


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
