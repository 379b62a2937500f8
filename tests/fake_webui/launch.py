"""What an extension's install.py uses of the launcher; pip is not run, the commands are kept in a file."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path


def is_installed(package: str) -> bool:
    """Return whether a package is there, in whatever version."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def run_pip(command: str, desc: str | None = None, live: bool = False) -> str:
    """Note the command. Raises: RuntimeError if pip fails."""
    constraints = command.partition('-c "')[2].partition('"')[0]
    held = Path(constraints).read_text(encoding="utf-8").split() if constraints else []
    with Path(os.environ["FAKE_PIP_LOG"]).open("a", encoding="utf-8") as log:
        log.write(f"{command.partition(' -c ')[0]} | {desc} | {' '.join(held)}\n")
    if os.environ.get("FAKE_PIP_FAILS"):
        raise RuntimeError(f"Couldn't install {desc}.")
    return ""
