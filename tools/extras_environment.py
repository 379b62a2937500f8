"""Make a virtual environment with the optional parts and run their tests: ``python -m tools.extras_environment DIR``.

Each release of torchvision works with one release of torch only, and its builds on PyPI do not fit a CPU build of
torch. So these parts get an environment of their own, with releases that fit each other. It takes several gigabytes.
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
# These two work together. On x86_64 they are builds for CUDA; on aarch64, torch 2.9.1 and torchvision 0.24.1 are builds
# for the CPU.
TORCH, TORCHVISION = "2.14.1", "0.29.1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or complete the environment and run the tests marked ``extras`` in it; return pytest's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.extras_environment", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the virtual environment, made if missing")
    parser.add_argument("--torch", default=TORCH, metavar="VERSION", help=f"release of torch ({TORCH})")
    parser.add_argument(
        "--torchvision", default=TORCHVISION, metavar="VERSION", help=f"release of torchvision ({TORCHVISION})"
    )
    asked = parser.parse_args(arguments)
    python = environment(asked.folder)
    for command in (*install_commands(python, asked.torch, asked.torchvision), test_command(python)):
        # With CI set, a skipped test fails: it would say nothing about the parts that were installed for it.
        status = subprocess.run(command, cwd=ROOT, env={**os.environ, "CI": "true"}, check=False).returncode
        if status:
            return status
    return 0


def environment(folder: Path) -> Path:
    """Return the Python of the virtual environment in ``folder``, which is made if it is missing."""
    python = folder.absolute() / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    return python


def install_commands(python: Path, torch: str, torchvision: str) -> list[list[str]]:
    """Return pip's commands: torch and torchvision first, so that nothing after them installs another torch."""
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    pair = [f"torch=={torch}", f"torchvision=={torchvision}"]
    return [[*pip, *pair], [*pip, *pair, "pytest>=8.1", "-e", f".[{','.join(EXTRAS)}]"]]


def test_command(python: Path) -> list[str]:
    """Return the command that runs every test marked ``extras``; no skip is expected, so a skipped test fails."""
    files = sorted({str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_*.py") if _has_extras(path)})
    return [str(python), "-m", "pytest", "-m", "extras", "-o", "expected_skips=", *files]


def _has_extras(path: Path) -> bool:
    """Tell whether a test file has such tests; others are not collected, as they may need packages missing here."""
    return "@pytest.mark.extras" in path.read_text(encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
