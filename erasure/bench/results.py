"""The results file: JSON lines, one row per finished cell, only ever appended to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from erasure.errors import RunError

Row = dict[str, Any]


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """One write of one line, so that several processes may append to the same file. Raises: RunError."""
    line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                # A crash may have cut the last line off; what follows must not be glued to it.
                file.seek(end - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line
            if file.write(line) != len(line):
                raise RunError(f"{path} could only be written in part; free some space and start the bench again")
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error}") from error


def read_rows(path: Path) -> list[Row]:
    """All rows; lines that a crash cut off are left out. Raises: RunError if the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def finished(rows: Iterable[Row]) -> list[Row]:
    """Rows that were measured, without those that only tell of a problem; of repeated ones the last."""
    found = {(row["variant"], *work_key(row)): row for row in rows if not row.get("problem")}
    return list(found.values())


def current(rows: Iterable[Row]) -> list[Row]:
    """Rows of each variant whose settings are those of its last row: presets and defaults change, names stay."""
    given = list(rows)
    last = {_place(row): _recipe(row) for row in given}
    return [row for row in given if _recipe(row) == last[_place(row)]]


def _place(row: Row) -> tuple[str, str, str]:
    return row["suite"], row["family"], row["variant"]


def _recipe(row: Row) -> tuple[str, dict[str, Any]]:
    """Checkpoint and settings, without what differs between target sets and seeds, or is only looked at."""
    own = ("erase", "anchor", "seed", "save_every", "preview_every")
    return row["sha256"], {name: value for name, value in row["config"].items() if name not in own}


def work_key(row: Mapping[str, Any]) -> tuple[str, str, int, str, str]:
    """What makes a cell's work: with the same key nothing need be computed again.

    The variant's name is no part of it: "adversarial" and "neighbours=100" may be the same config.
    """
    return row["suite"], row["set"], row["seed"], row["config_key"], row["evaluation_key"]
