"""A run on disk: what each of its files is called, and how it is written and read. Needs no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.settle import asked_of
from erasure.config.values import config_from_record
from erasure.errors import RunError
from erasure.run.events import Event, event_to_dict
from erasure.run.picture_folder import INDEX
from erasure.whole_file import write_json

_STEP = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Origin:
    """What a run began with, besides its config: the checkpoint and its hashes, and where the LoRA goes.

    ``started``: seconds since the epoch, None where it is not known.
    """

    checkpoint: str
    sha256: str
    short_hash: str
    out: str
    started: float | None = None


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds a run, or will: ``run.json`` (origin and config), ``concepts.json``, ``events.jsonl``, the
    state, the LoRA and the pictures; and ``job.json`` and a lock file if the run is a job."""

    path: Path

    @property
    def state(self) -> Path:
        """The training state to resume from."""
        return self.path / "state.safetensors"

    @property
    def lora(self) -> Path:
        """The LoRA file as it was written and checked here, before it is copied to its place."""
        return self.path / "lora.safetensors"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the run."""
        return self.path / "worker.lock"

    @property
    def job(self) -> Path:
        """What a job knows beyond its run."""
        return self.path / "job.json"

    # --- pictures

    @property
    def before(self) -> Path:
        """The folder of the frozen model's pictures, which a resumed run need not draw again."""
        return self.path / "pictures" / "before"

    def pictures(self, step: int) -> Path:
        """The folder of the pictures after ``step`` updates."""
        return self.path / "pictures" / _step_name(step)

    def sheet(self, step: int) -> Path:
        """A grid of pictures before and after, as the command line writes it. Version 0.1.0 kept only these."""
        return self.path / "previews" / f"{_step_name(step)}.png"

    def previews(self) -> set[int]:
        """The steps after which pictures were drawn."""
        drawn = [path.parent.name for path in self.path.glob(f"pictures/step-*/{INDEX}")]
        sheets = [path.stem for path in self.path.glob("previews/step-*.png")]
        found = (_STEP.fullmatch(name) for name in (*drawn, *sheets))
        return {int(match[1]) for match in found if match}

    # --- run.json and concepts.json

    @property
    def holds_run(self) -> bool:
        """Whether a run began here, which can be resumed."""
        return (self.path / "run.json").exists()

    def create(self, origin: Origin, config: EraseConfig) -> None:
        """Raises: RunError if the folder holds another run, or cannot be written."""
        if self.holds_run:
            raise RunError(f"the run folder {self.path} already holds a run; resume it, or choose another folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            values = {**asdict(origin), "config": config.to_dict(), "asked": asked_of(config)}
            write_json(self.path / "run.json", values)
        except OSError as error:
            raise RunError(f"the run folder {self.path} cannot be written: {error}; choose another") from error

    def read(self) -> tuple[Origin, EraseConfig]:
        """What :meth:`create` was given. Raises: RunError, ConfigError."""
        values = self._json("run.json")
        try:
            return self.origin(), config_from_record(values["config"], values.get("asked"))
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.path / 'run.json'} is no description of a run: {error!r}") from error

    def origin(self) -> Origin:
        """What the run began with, besides its config. Raises: RunError."""
        values = self._json("run.json")
        checkpoint, sha256, short_hash, out = (
            str(values.get(name) or "") for name in ("checkpoint", "sha256", "short_hash", "out")
        )
        started = values.get("started")
        return Origin(
            checkpoint, sha256, short_hash, out, float(started) if isinstance(started, (int, float)) else None
        )

    def save_space(self, space: ConceptSpace) -> None:
        """Raises: OSError."""
        write_json(self.path / "concepts.json", space.to_dict())

    def space(self) -> ConceptSpace | None:
        """The concept space of this run, if it came that far. Raises: RunError."""
        if not (self.path / "concepts.json").exists():
            return None
        return ConceptSpace.from_dict(self._json("concepts.json"))

    # --- events.jsonl

    def log(self, event: Event) -> None:
        """Raises: RunError, when the disk is full or the folder is gone."""
        try:
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(event_to_dict(event), ensure_ascii=False) + "\n")
        except OSError as error:
            raise RunError(f"the log of the run in {self.path} cannot be written: {error}; free some space") from error

    def events(self) -> Iterator[dict[str, Any]]:
        """The log so far. A line that a crash cut off is left out, and so is a log that cannot be read."""
        try:
            lines = (self.path / "events.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event

    # --- job.json

    def write_job(self, values: Mapping[str, Any]) -> None:
        """Raises: RunError if the folder cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.job, dict(values))
        except OSError as error:
            raise RunError(
                f"the run folder {self.path} cannot be written: {error.strerror}; free some space, or change the "
                "folder's permissions"
            ) from error

    def read_job(self) -> dict[str, Any]:
        """Raises: RunError if it cannot be read."""
        try:
            values = json.loads(self.job.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.job} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise RunError(f"{self.job} is damaged: it holds no object")
        return values

    def _json(self, name: str) -> dict[str, Any]:
        try:
            values = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path} holds no run that can be resumed ({name}: {error})") from error
        if not isinstance(values, dict):
            raise RunError(f"{self.path / name} is damaged: it holds no object")
        return values


def job_folders(runs: Path) -> list[RunFolder]:
    """The folders below ``runs`` that hold a job, by name: the oldest first."""
    return [RunFolder(path.parent) for path in sorted(runs.glob("*/job.json"))]


def _step_name(step: int) -> str:
    return f"step-{step:06d}"
