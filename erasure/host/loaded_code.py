"""Whether the package's files are still those that run: Python keeps what it imported until it ends.

A web UI that reloads its extensions runs a new script beside the old package. Needs nothing but the standard library.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def fingerprint(folder: Path) -> str:
    """Return what tells the Python files of a folder and below, by name and content, from any others."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        content = file.read_bytes()
        found.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


# When this module was imported, with the first of the package.
_LOADED = fingerprint(_PACKAGE)


def outdated(folder: Path = _PACKAGE) -> str:
    """Return one line that says what to do if the package's files are not those that run; "" if they are."""
    if fingerprint(folder) == _LOADED:
        return ""
    return (
        "Adversarial Erase was updated while the web UI was running: end the web UI and start it again (Reload UI is "
        "not enough). A run in progress goes on until then, and can be resumed afterwards."
    )
