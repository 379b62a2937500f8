"""A run on disk: config, concept space, event log, previews and state, enough to look at it later or to resume it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.settle import asked_of
from erasure.config.values import config_from_record
from erasure.errors import RunError
from erasure.run.events import Event, event_to_dict
from erasure.whole_file import write_json


@dataclass(frozen=True)
class RunFolder:
    """``run.json`` (config, checkpoint, output), ``concepts.json``, ``events.jsonl``, the state, and ``previews/``."""

    path: Path

    @property
    def state(self) -> Path:
        return self.path / "state.safetensors"

    @property
    def lora(self) -> Path:
        """The LoRA file as it was written and checked here, before it is copied to its place."""
        return self.path / "lora.safetensors"

    @property
    def before(self) -> Path:
        """The frozen model's pictures, which a resumed run need not draw again."""
        return self.path / "before.png"

    def preview(self, step: int) -> Path:
        return self.path / "previews" / f"step-{step:06d}.png"

    def create(self, about: dict[str, Any], config: EraseConfig) -> None:
        """Raises: RunError if the folder holds another run, or cannot be written."""
        if (self.path / "run.json").exists():
            raise RunError(f"the run folder {self.path} already holds a run; resume it, or choose another folder")
        try:
            (self.path / "previews").mkdir(parents=True, exist_ok=True)
            values = {**about, "config": config.to_dict(), "asked": asked_of(config)}
            write_json(self.path / "run.json", values)
        except OSError as error:
            raise RunError(f"the run folder {self.path} cannot be written: {error}; choose another") from error

    def read(self) -> tuple[dict[str, Any], EraseConfig]:
        """What :meth:`create` was given. Raises: RunError."""
        about = self._json("run.json")
        try:
            return about, config_from_record(about.pop("config"), about.pop("asked", None))
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.path / 'run.json'} is no description of a run: {error!r}") from error

    def save_space(self, space: ConceptSpace) -> None:
        write_json(self.path / "concepts.json", space.to_dict())

    def space(self) -> ConceptSpace | None:
        """The concept space of this run, if it came that far."""
        if not (self.path / "concepts.json").exists():
            return None
        return ConceptSpace.from_dict(self._json("concepts.json"))

    def log(self, event: Event) -> None:
        """Raises: RunError, when the disk is full or the folder is gone."""
        try:
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(event_to_dict(event), ensure_ascii=False) + "\n")
        except OSError as error:
            raise RunError(f"the log of the run in {self.path} cannot be written: {error}; free some space") from error

    def events(self) -> Iterator[dict[str, Any]]:
        """The log so far; a last line that was cut off by a crash is left out."""
        log = self.path / "events.jsonl"
        for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def _json(self, name: str) -> dict[str, Any]:
        try:
            values = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path} holds no run that can be resumed ({name}: {error})") from error
        if not isinstance(values, dict):
            raise RunError(f"{self.path / name} is damaged: it holds no object")
        return values
