"""The page's script and style sheet. A web UI finds them in the extension's folder by itself."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from erasure.errors import RunError

SCRIPT = "javascript/adversarial_erase.js"
STYLE = "style.css"


def script() -> str:
    """Return the page's script. Raises: RunError if its file is missing."""
    return _read(SCRIPT)


def style() -> str:
    """Return the style sheet. Raises: RunError if its file is missing."""
    return _read(STYLE)


def _read(name: str) -> str:
    # A checkout, or an editable install of one, has them beside the package; a wheel puts them among the shared data.
    folders = (Path(__file__).parents[2], Path(sysconfig.get_path("data")) / "share" / "adversarial-erase")
    for folder in folders:
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8")
    raise RunError(f"{name} is missing from {folders[0]} and {folders[1]}; install the project again")
