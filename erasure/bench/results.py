"""The results file: JSON lines, one row per finished cell, to which rows are only ever appended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

from erasure.errors import RunError


class Machine(TypedDict):
    """Where a row was made; it names neither host nor user."""

    system: str
    processor: str
    cores: int | None
    gpu: str
    threads: int
    python: str
    torch: str
    diffusers: str


class Cost(TypedDict):
    """What training took: U-Net rows, seconds, updates and LoRA parameters; ``_space``: of the concept space."""

    rows_training: int
    rows_space: int
    seconds_space: float
    seconds_training: float
    updates: int
    parameters: int


class Identity(TypedDict):
    """Which cell a row belongs to; ``pictures`` counts them by group."""

    suite: str
    family: str
    set: str
    erase: list[str]
    variant: str
    seed: int
    config_key: str
    evaluation_key: str
    config: dict[str, Any]
    sha256: str
    pictures: dict[str, int]


class Measured(Identity, Cost):
    """What the work on a cell found. Folders are relative to the bench's; ``shown``: names of pictures by group."""

    before: dict[str, float]
    after: dict[str, float]
    seconds_evaluation: float
    checkpoint: str
    judge: str
    folder: str
    base_folder: str
    pictures_folder: str
    shown: dict[str, list[str]]
    finished: str


class Row(Measured):
    """A finished cell, as the results file holds it."""

    seconds: float
    machine: Machine


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Append one line in a single write, so that several processes can share the file.

    Raises: RunError if it cannot be written.
    """
    line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                # A crash may have cut off the last line; the new one must not continue it.
                file.seek(end - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line
            if file.write(line) != len(line):
                raise RunError(
                    f"{path} could only be written in part: the disk may be full. Free some space and start the bench "
                    "again."
                )
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error}. Check the disk and start the bench again.") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read all rows, finished and failed ones alike; skip lines that a crash cut off.

    Raises: RunError if the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}. Check that it is a results file of the bench.") from error
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def finished(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Keep the rows that were measured, without those of failed cells; of repeated rows keep the last."""
    return list({(row["variant"], *work_key(row)): row for row in rows if _is_finished(row)}.values())


def current(rows: Iterable[Row]) -> list[Row]:
    """Keep each variant's rows that have the settings of its last row, of each cell the last one.

    Presets and defaults change over time while their names stay the same, and so does how a trial was measured: with
    fewer pictures, drawn in fewer steps, or judged by another classifier.
    """
    given = list(rows)
    last = {_place(row): _recipe(row) for row in given}
    kept = [row for row in given if _recipe(row) == last[_place(row)]]
    return list({(*_place(row), row["set"], row["seed"]): row for row in kept}.values())


def work_key(row: Identity) -> tuple[str, str, int, str, str]:
    """Return what makes a cell's work: two cells with the same key need computing only once.

    The variant's name is not part of it: "adversarial" and "neighbours=100" may be the same config.
    """
    return row["suite"], row["set"], row["seed"], row["config_key"], row["evaluation_key"]


def _is_finished(row: Mapping[str, Any]) -> TypeGuard[Row]:
    return not row.get("problem")


def _place(row: Row) -> tuple[str, str, str]:
    return row["suite"], row["family"], row["variant"]


def _recipe(row: Row) -> list[object]:
    """Return checkpoint and settings, without those that differ between target sets and seeds or change no weights.

    And what figures were taken from: how pictures were drawn, which their folder is named after, how many, and by whom
    they were judged.
    """
    own = ("erase", "anchor", "seed", "save_every", "preview_every")
    settings = {name: value for name, value in row["config"].items() if name not in own}
    drawn = row["base_folder"].rpartition("/")[2]
    return [row["sha256"], settings, drawn, row["pictures"], row["judge"]]
