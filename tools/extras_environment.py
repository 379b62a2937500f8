"""Runs the tests of the optional parts: ``python -m tools.extras_environment DIR`` makes an environment for them.

torchvision works with one release of torch only, and its builds on PyPI do not fit a CPU build of torch. So these parts
get a virtual environment of their own, with a pair of releases that fit each other. It takes several gigabytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("metrics", "imagenette", "nudity")
# Found to work together: on x86_64 these are builds for CUDA, on aarch64 torch 2.9.1 with torchvision 0.24.1 is one for
# the CPU.
TORCH, TORCHVISION = "2.14.1", "0.29.1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or complete the environment, run the tests marked ``extras`` in it; returns pytest's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.extras_environment", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the virtual environment; made if it is not there")
    parser.add_argument("--torch", default=TORCH, metavar="VERSION", help=f"({TORCH})")
    parser.add_argument("--torchvision", default=TORCHVISION, metavar="VERSION", help=f"({TORCHVISION})")
    asked = parser.parse_args(arguments)
    python = environment(asked.folder)
    for command in (*install_commands(python, asked.torch, asked.torchvision), test_command(python)):
        # A skipped test would say nothing about the parts that all this was installed for.
        status = subprocess.run(command, cwd=ROOT, env={**os.environ, "CI": "true"}, check=False).returncode
        if status:
            return status
    return 0


def environment(folder: Path) -> Path:
    """The Python of the virtual environment in ``folder``, which is made if need be."""
    python = folder.absolute() / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    return python


def install_commands(python: Path, torch: str, torchvision: str) -> list[list[str]]:
    """The pair first, so that nothing that comes after it brings another torch."""
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    pair = [f"torch=={torch}", f"torchvision=={torchvision}"]
    return [[*pip, *pair], [*pip, *pair, "pytest>=8.1", "-e", f".[{','.join(EXTRAS)}]"]]


def test_command(python: Path) -> list[str]:
    """Every test marked ``extras``; with no skip expected, one that is skipped fails."""
    files = sorted({str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_*.py") if _has_extras(path)})
    return [str(python), "-m", "pytest", "-m", "extras", "-o", "expected_skips=", *files]


def _has_extras(path: Path) -> bool:
    """Files without are not collected: they may need packages that are not in this environment."""
    return "@pytest.mark.extras" in path.read_text(encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
