"""Which program the extension lies in, told by its files. Imports nothing of it."""

from __future__ import annotations

from pathlib import Path

MADE_FOR = "AUTOMATIC1111 1.10 and Forge"


def unsupported(root: Path) -> str:
    """Return one line that says why the extension cannot work in the program of this folder; "" if it may."""
    # SD.Next began as AUTOMATIC1111's web UI and has names in common with it, but loads, draws and queues by its own.
    if (root / "installer.py").is_file() and not (root / "modules" / "launch_utils.py").is_file():
        return _line("SD.Next")
    return ""


def lacking(what: str) -> str:
    """Return the same line for a program in which a part is not to be found that the extension needs."""
    return _line(f"this web UI ({what})")


def requirements_file(root: Path) -> Path:
    """Return the file in which a web UI pins its packages; Forge Classic's has another name."""
    usual = root / "requirements_versions.txt"
    return usual if usual.is_file() else root / "requirements.txt"


def _line(program: str) -> str:
    return (
        f"Adversarial Erase does not support {program} and does nothing here. It is made for {MADE_FOR}; "
        "it also runs on its own (python -m erasure app) and on the command line."
    )
