"""Run the tests on the versions that AUTOMATIC1111 1.10.1 pins: ``python -m tools.host_environment DIR``.

Most who use the tab have a web UI with these versions, years older than what pip installs today. They get a virtual
environment in DIR, made once and used again. It takes six gigabytes on Linux: torch of that time is a build for CUDA.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
# torch as the web UI's launcher installs it, the rest from its requirements_versions.txt, but for diffusers and peft:
# these it does not have, and install.py adds the newest that go with its transformers.
TORCH = ("torch==2.1.2", "numpy==1.26.2")
PINS = (
    *TORCH,
    "transformers==4.30.2",
    "diffusers==0.31.0",
    "peft==0.13.2",
    "accelerate==0.21.0",
    "safetensors==0.4.2",
    "Pillow==9.5.0",
    "gradio==3.41.2",
    "fastapi==0.94.0",
    "httpx==0.24.1",
    "httpcore==0.15",
    "protobuf==3.20.0",
    "psutil==5.9.5",
    "setuptools==69.5.1",
    # What it does not pin and gets all the same: fastapi 0.94 takes no later pydantic.
    "pydantic<2",
)
# Without the linters, which say nothing about other packages' versions, and without ray, which needs a later protobuf.
TOOLS = ("pytest>=8.1", "pytest-xdist>=3.5", "pytest-cov>=5", "hypothesis>=6.100", "playwright>=1.40")
LEFT_OUT = ("tests/test_bench.py::test_ray_gives_the_same_rows_as_one_process",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make or complete the environment and run the tests in it; return pytest's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.host_environment", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the virtual environment, made if missing")
    parser.add_argument("--python", default="python3.10", metavar="PYTHON", help="what makes it (python3.10)")
    parser.add_argument("--only", nargs="+", default=[], metavar="PATH", help="files of tests; all, if left out")
    parser.add_argument("--options", default="", metavar="TEXT", help='options for pytest in one string: "-n 2 -x"')
    asked = parser.parse_args(arguments)
    folder: Path = asked.folder.absolute()
    python = environment_python(folder)
    complete, contents = folder / "complete", environment_contents()
    if not complete.exists() or complete.read_text(encoding="utf-8") != contents:
        making = [] if python.exists() else [[asked.python, "-m", "venv", str(folder)]]
        for command in (*making, *install_commands(python)):
            status = subprocess.run(command, cwd=ROOT, check=False).returncode
            if status:
                return status
        complete.write_text(contents, encoding="utf-8")
    tests = suite_command(python, asked.only, asked.options.split())
    return subprocess.run(tests, cwd=ROOT, env=suite_variables(python), check=False).returncode


def environment_contents() -> str:
    """Return what decides the contents of the environment; it is used again only while this is the same."""
    package = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return "\n".join((*PINS, *TOOLS, str(ROOT), package))


def environment_python(folder: Path) -> Path:
    """Return where the Python of the virtual environment in ``folder`` is, or will be."""
    return folder.absolute() / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install_commands(python: Path) -> list[list[str]]:
    """Return pip's commands: torch first, so that a mistake in the rest does not download it twice."""
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    return [[*pip, *TORCH], [*pip, *PINS, *TOOLS, "-e", "."]]


def suite_command(python: Path, only: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the command that runs the tests, but those of ray and of the page with the newest gradio."""
    left_out = [f"--deselect={test}" for test in LEFT_OUT]
    return [str(python), "-m", "pytest", "-k", "not [newest", *left_out, *options, *only]


def suite_variables(python: Path) -> dict[str, str]:
    """Return the environment variables of the tests: the page's gradio is this one; a skip must have been expected."""
    return {**os.environ, "OLDEST_GRADIO_PYTHON": str(python), "CI": "true"}


if __name__ == "__main__":
    raise SystemExit(main())
