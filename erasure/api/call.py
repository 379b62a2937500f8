"""One request as handlers get it, and what they may answer besides JSON values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.api.answers import job_dict
from erasure.errors import JobNotFound
from erasure.host.base import Host
from erasure.host.data_folder import DataFolder
from erasure.jobs.manager import JobManager

# The characters of a job's id: none of them has a meaning in a path.
_ID = re.compile(r"[\w-][\w.-]{0,200}")


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
