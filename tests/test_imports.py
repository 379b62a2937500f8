"""What importing a module costs. Which module may import which is a matter of ``lint-imports``, see pyproject.toml."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "diffusers", "transformers", "peft")
LIGHT = ("erasure.config", "erasure.jobs", "erasure.api", "erasure.cli", "erasure.ui")


def test_settings_jobs_pages_and_commands_are_imported_without_torch() -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        f"for room in {LIGHT!r}:\n"
        "    package = importlib.import_module(room)\n"
        "    for found in pkgutil.walk_packages(package.__path__, room + '.'):\n"
        "        importlib.import_module(found.name)\n"
        f"        heavy = set({HEAVY!r}) & set(sys.modules)\n"
        "        assert not heavy, (found.name, heavy)\n"
        "        assert 'gradio' not in sys.modules or found.name.startswith('erasure.ui'), found.name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
