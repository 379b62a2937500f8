"""A Python with the oldest gradio in front of everything that this one has, made once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from importlib.metadata import distributions
from pathlib import Path

import pytest
from filelock import FileLock

# gradio as AUTOMATIC1111 has it, with what it needs from its time. torch and the rest are those of this environment.
REQUIREMENTS = ("gradio==3.41.2", "pydantic<2", "fastapi<0.95", "httpx<0.28", "numpy<2", "setuptools<81")
KEPT_DAYS = 14


def oldest_python() -> Path:
    """Return a Python that has the oldest gradio, and everything else from this one.

    It is used again only while the requirements and the packages of this environment are exactly the same.
    ``OLDEST_GRADIO_PYTHON`` names another one. Skips the test where none can be made.
    """
    given = os.environ.get("OLDEST_GRADIO_PYTHON")
    if given:
        return Path(given)
    kept = _cache() / "adversarial-erase-tests"
    kept.mkdir(parents=True, exist_ok=True)
    folder = kept / f"oldest-gradio-{_key()}"
    complete = folder / "complete"
    with FileLock(kept / "lock"):
        _remove_unused(kept)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder)
        complete.touch()
    return _python(folder)


def _cache() -> Path:
    named = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return Path(named) if named else Path.home() / ".cache"


def _key() -> str:
    around = sorted({f"{each.metadata['Name']}=={each.version}" for each in distributions()})
    parts = [REQUIREMENTS, sys.version, sysconfig.get_path("purelib"), around]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _python(folder: Path) -> Path:
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def _make(folder: Path) -> None:
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    python = _python(folder)
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    (Path(where) / "zz_shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", *REQUIREMENTS]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    if installed.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"gradio 3.41.2 cannot be installed here: {installed.stderr[-300:]}")


def _remove_unused(kept: Path) -> None:
    """Remove the environments that no test has asked for in a while."""
    for complete in kept.glob("*/complete"):
        if complete.stat().st_mtime < time.time() - KEPT_DAYS * 24 * 3600:
            shutil.rmtree(complete.parent, ignore_errors=True)
