"""The console: what is printed never ends a command, whatever characters the console can show."""

from __future__ import annotations

import io
import json
import math
import sys
from typing import Any

_KEPT = ("replace", "ignore", "backslashreplace", "xmlcharrefreplace", "namereplace")


def print_any_character() -> None:
    """Let stdout and stderr escape what their encoding lacks ("\\u6559"), where they would raise UnicodeEncodeError.

    Consoles and pipes of Windows have code pages, and no encoding can write the halves of characters by which Python
    stands for names of files that are not UTF-8. A handling of errors that the user chose stays, if it raises none.
    """
    for stream in (sys.stdout, sys.stderr):
        # In a page, a test or pythonw it may be something else, or None.
        if isinstance(stream, io.TextIOWrapper) and stream.errors not in _KEPT:
            stream.reconfigure(errors="backslashreplace")


def json_text(values: object) -> str:
    """Return JSON for stdout, with all characters as they are if stdout can write every one of them.

    JSON has no numbers that are not finite (RFC 8259); they are null.
    """
    unicode = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").startswith("utf")
    return json.dumps(_finite(values), ensure_ascii=not unicode, allow_nan=False, indent=1)


def _finite(values: Any) -> Any:
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    return [_finite(value) for value in values] if isinstance(values, (list, tuple)) else values
