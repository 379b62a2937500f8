"""A run on disk: the names of its files, and how they are written and read. Needs no torch."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from erasure import bounded_json
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.settle import asked_of
from erasure.config.values import config_from_record
from erasure.errors import OutputRefused, RunError
from erasure.lora.parent import Parent
from erasure.run.events import Event, event_to_dict
from erasure.run.picture_folder import INDEX
from erasure.whole_file import write_json

_STEP = re.compile(r"step-(\d{6,})")
_NOT_TEXT = (
    "the run cannot be recorded: the path of its checkpoint, VAE or output is not valid text in this system; rename "
    "the file, or the folder that it lies in"
)


@dataclass(frozen=True)
class Origin:
    """What a run began with, besides its config: the checkpoint with its hashes, and the place of the LoRA.

    ``started``: seconds since the epoch, None if not known. ``ema``: ``plain`` or ``averaged`` weights of a U-Net that
    has both, "" for one that has not, or if not known; ``vae``: the VAE that was given in place of the checkpoint's
    own, or for one that has none. ``configuration``: how the weights were read, see
    :func:`erasure.model.configuration.configuration_of`; "" if not known.
    """

    checkpoint: str
    sha256: str
    short_hash: str
    out: str
    started: float | None = None
    ema: str = ""
    vae: str = ""
    configuration: str = ""


@dataclass(frozen=True)
class RunFolder:
    """A folder for a run: ``run.json`` (origin and config), ``concepts.json``, ``events.jsonl``, the state, the LoRA,
    the pictures, and copies of the LoRAs that it began from; with ``job.json`` and a lock file if the run is a job."""

    path: Path

    @property
    def state(self) -> Path:
        """The training state to resume from."""
        return self.path / "state.safetensors"

    @property
    def judged(self) -> Path:
        """The pictures before, as the judge drew them, with their scores, which a resumed run uses again."""
        return self.path / "judged.safetensors"

    @property
    def lora(self) -> Path:
        """The LoRA file as it was written and checked here, before it is copied to its place."""
        return self.path / "lora.safetensors"

    @property
    def lock(self) -> Path:
        """The lock file of the process that works on the run."""
        return self.path / "worker.lock"

    @property
    def job(self) -> Path:
        """The record of the job, if the run is one."""
        return self.path / "job.json"

    # --- pictures

    @property
    def before(self) -> Path:
        """The folder of the frozen model's pictures, which a resumed run uses again."""
        return self.path / "pictures" / "before"

    @property
    def drew_before(self) -> bool:
        """Whether the frozen model's pictures are there, all of them."""
        return (self.before / INDEX).is_file()

    def pictures(self, step: int) -> Path:
        """The folder of the pictures after ``step`` updates."""
        return self.path / "pictures" / _step_name(step)

    def sheet(self, step: int) -> Path:
        """A sheet of the pictures before and after, as the command line writes it; all that version 0.1.0 kept."""
        return self.path / "previews" / f"{_step_name(step)}.png"

    def previews(self) -> set[int]:
        """Return the steps after which pictures were drawn."""
        drawn = [path.parent.name for path in self.path.glob(f"pictures/step-*/{INDEX}")]
        sheets = [path.stem for path in self.path.glob("previews/step-*.png")]
        found = (_STEP.fullmatch(name) for name in (*drawn, *sheets))
        return {int(match[1]) for match in found if match}

    # --- run.json and concepts.json

    @property
    def holds_run(self) -> bool:
        """Whether a run began here. It can be resumed."""
        return (self.path / "run.json").exists()

    def create(self, origin: Origin, config: EraseConfig, parents: Sequence[Parent] = ()) -> None:
        """Make the folder, copy the ``parents`` into it, and write ``run.json``.

        Raises: OutputRefused if it holds a run, or cannot be written.
        """
        try:
            if self.holds_run:
                raise OutputRefused(
                    f"the run folder {self.path} already holds a run; resume it, or choose another folder"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            values = {**asdict(origin), "config": config.to_dict(), "asked": asked_of(config)}
            if parents:
                values["parents"] = [self._keep(number, parent) for number, parent in enumerate(parents)]
            write_json(self.path / "run.json", values)
        except UnicodeEncodeError as error:
            raise OutputRefused(_NOT_TEXT) from error
        except (OSError, ValueError) as error:
            raise OutputRefused(
                f"the run folder {self.path} cannot be written: {error}; choose another folder"
            ) from error

    def read(self) -> tuple[Origin, EraseConfig]:
        """Return what :meth:`create` was given. Raises: RunError, ConfigError."""
        values = self._json("run.json")
        try:
            return self.origin(), config_from_record(values["config"], values.get("asked"))
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.path / 'run.json'} does not describe a run ({error!r}); start a new run") from error

    def parents(self) -> tuple[Parent, ...]:
        """Return the LoRAs that the run began from, as they were then. Raises: RunError."""
        rows = self._json("run.json").get("parents") or []
        try:
            return tuple(
                Parent(self._parent(number, str(row["name"])), float(row["weight"]), tuple(row["erases"]))
                for number, row in enumerate(rows)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{self.path / 'run.json'} does not say what the run began from ({error!r})") from error

    def origin(self) -> Origin:
        """What the run began with, besides its config. Raises: RunError."""
        values = self._json("run.json")
        names = ("checkpoint", "sha256", "short_hash", "out", "ema", "vae", "configuration")
        texts = {name: str(values.get(name) or "") for name in names}
        started = values.get("started")
        return Origin(**texts, started=float(started) if isinstance(started, (int, float)) else None)

    def save_space(self, space: ConceptSpace) -> None:
        """Write ``concepts.json``. Raises: OSError."""
        write_json(self.path / "concepts.json", space.to_dict())

    def space(self) -> ConceptSpace | None:
        """Return the concept space of the run, None if it did not get that far. Raises: RunError."""
        if not (self.path / "concepts.json").exists():
            return None
        return ConceptSpace.from_dict(self._json("concepts.json"))

    # --- events.jsonl

    def log(self, event: Event) -> None:
        """Add an event to the log. Raises: RunError, such as when the disk is full or the folder is gone."""
        try:
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(event_to_dict(event), ensure_ascii=False) + "\n")
        except OSError as error:
            raise RunError(f"the log of the run in {self.path} cannot be written: {error}; free some space") from error

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events in the log, without a line that a crash cut off; nothing if the log cannot be read."""
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
        """Write ``job.json``. Raises: RunError if the folder cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.job, dict(values))
        except UnicodeEncodeError as error:
            raise RunError(_NOT_TEXT) from error
        except OSError as error:
            raise RunError(
                f"the run folder {self.path} cannot be written: {error.strerror}; free some space, or change the "
                "folder's permissions"
            ) from error

    def read_job(self) -> dict[str, Any]:
        """Return what ``job.json`` holds. Raises: RunError if it cannot be read."""
        try:
            values = _read(self.job)
        except (OSError, ValueError) as error:
            raise RunError(f"{self.job} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise RunError(f"{self.job} is damaged: it holds no JSON object")
        return values

    def _keep(self, number: int, parent: Parent) -> dict[str, Any]:
        """Copy a parent, and return what ``run.json`` says of it. Raises: OSError."""
        copy = self._parent(number, parent.path.name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(parent.path, copy)
        return {"name": parent.path.name, "weight": parent.weight, "erases": list(parent.erases)}

    def _parent(self, number: int, name: str) -> Path:
        """Its file, in a folder of its own, since several may have one name."""
        return self.path / "parents" / str(number) / Path(name).name

    def _json(self, name: str) -> dict[str, Any]:
        try:
            values = _read(self.path / name)
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path} holds no run that can be resumed ({name}: {error})") from error
        if not isinstance(values, dict):
            raise RunError(f"{self.path / name} is damaged: it holds no JSON object")
        return values


def _read(path: Path) -> Any:
    """Return what a file that a run wrote holds, of any length that runs have."""
    return bounded_json.read(path, most=64_000_000, values=4_000_000, finite=False)


def job_folders(runs: Path) -> list[RunFolder]:
    """Return the folders in ``runs`` that hold a job, oldest first."""
    return [RunFolder(path.parent) for path in sorted(runs.glob("*/job.json"))]


def _step_name(step: int) -> str:
    return f"step-{step:06d}"
