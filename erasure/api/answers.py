"""The API's answers: plain JSON that reveals no path on this machine, and errors as lists of problems."""

from __future__ import annotations

import math
import re
import tempfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from erasure.config.setting import GROUPS
from erasure.config.settings import settings
from erasure.errors import ConfigError, EraseError, JobNotFound, RunError, TrainingError
from erasure.host.base import Host
from erasure.jobs.baking import BakeSnapshot
from erasure.jobs.combining import CombineSnapshot
from erasure.jobs.job import Snapshot
from erasure.jobs.measuring import MeasureSnapshot
from erasure.jobs.uploading import UploadSnapshot
from erasure.share.private import bare_paths

ErrandSnapshot = MeasureSnapshot | CombineSnapshot | BakeSnapshot | UploadSnapshot

# Left out of the list of jobs, because they are long; each job on its own has them.
_LONG = ("config", "asked", "series", "picks", "plan", "notes", "verdict")
_JSON_TYPES: dict[type, dict[str, Any]] = {
    tuple: {"type": ["array", "string"], "items": {"type": "string"}},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
}


def status_of(error: EraseError) -> int:
    """Return 404 for what is not there, 409 for what cannot be done at present, 422 for what can never work."""
    if isinstance(error, JobNotFound):
        return 404
    return 409 if isinstance(error, (RunError, TrainingError)) else 422


def problems_of(error: EraseError, host: Host) -> list[str]:
    """Return every problem of an error, without paths on this machine."""
    problems = error.problems if isinstance(error, ConfigError) else [str(error)]
    return [without_places(problem, host) for problem in problems]


def job_dict(job: Snapshot, host: Host, *, short: bool = False) -> dict[str, Any]:
    """Return a job as JSON; ``short`` leaves out what is long."""
    values = {**job.to_dict(), "message": without_places(job.message, host)}
    values["problem"] = without_places(job.problem, host)
    values["notes"] = [without_places(note, host) for note in job.notes]
    values["config"], values["asked"] = config_dict(job.config), config_dict(job.asked)
    return {key: value for key, value in values.items() if key not in _LONG} if short else values


def errand_dict(errand: ErrandSnapshot, host: Host) -> dict[str, Any]:
    """Return a measurement, a combination, a bake or an upload as JSON."""
    values = {**errand.to_dict(), "problem": without_places(errand.problem, host)}
    return {**values, "notes": [without_places(note, host) for note in errand.notes]}


def config_dict(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config's settings with files by their base names."""
    file = config.get("vocabulary_file")
    return {**config, "vocabulary_file": base_name(file)} if isinstance(file, str) else dict(config)


def base_name(path: str) -> str:
    """Return the last part of a path of any system."""
    return PureWindowsPath(PurePosixPath(path).name).name


def without_places(text: str, host: Host) -> str:
    """Return the text with files and folders by their names instead of their paths."""
    if "/" not in text and "\\" not in text:
        return text
    folders = {host.lora_folder(), host.data_folder(), Path.home(), Path.cwd(), Path(tempfile.gettempdir())}
    folders |= {checkpoint.path.parent for checkpoint in host.checkpoints()}
    folders |= {folder.resolve() for folder in folders}
    # The longest first, so that a folder within another is not cut in two. In a repr, backslashes are doubled.
    for folder in sorted(map(str, folders), key=len, reverse=True):
        if len(folder) < 2:
            continue
        for place in (folder.replace("\\", "\\\\"), folder):
            text = re.sub(re.escape(place) + r"[\\/]+(?=\w)", "", text)
            text = re.sub(re.escape(place) + r"(?![\w.-])", lambda _: base_name(folder), text)  # noqa: B023
    return bare_paths(text)


def without_places_in(values: dict[str, Any], host: Host) -> dict[str, Any]:
    """Return the same JSON object with :func:`without_places` for every text that is a value."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return without_places_in(value, host)
        if isinstance(value, list):
            return [cut(each) for each in value]
        return without_places(value, host) if isinstance(value, str) else value

    return {key: cut(value) for key, value in values.items()}


def finite(value: Any) -> Any:
    """Return the same JSON with null for numbers that JSON cannot write (NaN and infinities)."""
    if isinstance(value, dict):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a config (draft 2020-12); ``x-group`` and ``x-usual`` are for people."""
    properties = {}
    for name, about in settings().items():
        default = about.default
        described = {
            **_JSON_TYPES[about.type],
            "description": about.help,
            "default": list(default) if isinstance(default, tuple) else default,
            "enum": list(about.choices) if about.choices else None,
            "minimum": about.low,
            "maximum": about.high,
            "x-group": about.group,
            "x-usual": about.usual or None,
        }
        properties[name] = {key: value for key, value in described.items() if value is not None}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "EraseConfig",
        "type": "object",
        "additionalProperties": False,
        "required": ["erase"],
        "properties": properties,
        "x-groups": list(GROUPS),
    }
