"""Install missing packages. The web UI's launcher runs this at every start; it is silent if nothing is missing."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from erasure.host.program import requirements_file, unsupported
from erasure.host.requirements import Unmet, advice, unmet

# These are never changed, whatever else is installed: the web UI chose them for the machine.
ALWAYS_KEPT = ("torch", "torchvision", "torchaudio", "xformers")


def main() -> None:
    """Install what is missing, in versions that change nothing that the web UI pins."""
    root = web_ui_folder()
    missing = [] if unsupported(root) else unmet()
    if not missing:
        return
    # As the launcher reads it: relative to the working folder, or to its own.
    named = Path(os.environ.get("REQS_FILE") or requirements_file(root))
    pinned = pinned_names(named if named.is_file() else root / named)
    free = [item for item in missing if _normal(item.name) not in pinned]
    for item in missing:
        if item not in free:
            # The launcher would put its own version back at the next start.
            pins = f"this web UI pins {item.name} {item.installed}"
            print(f"Adversarial Erase needs {item}, but {pins}: it cannot work until the web UI is updated")
    if free:
        install(free, pinned)


def web_ui_folder() -> Path:
    """Return the folder of the launcher that runs this: its working folder may be another one."""
    launcher = find_spec("launch")
    return Path(launcher.origin).parent if launcher is not None and launcher.origin else Path.cwd()


def install(missing: list[Unmet], pinned: set[str]) -> None:
    """Run pip once for all packages, with the versions that must stay as constraints."""
    import launch

    kept = constraints(pinned)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("\n".join(kept) + "\n", encoding="utf-8")
        packages = " ".join(f'"{item}"' for item in missing)
        try:
            launch.run_pip(f'install {packages} -c "{file}"', "what Adversarial Erase needs")
        except RuntimeError as error:
            print(f"{error}\nAdversarial Erase: {advice(missing)}")


def pinned_names(requirements: Path) -> set[str]:
    """Return the packages with an exact version in the web UI's requirements file, by their normal names."""
    if not requirements.is_file():
        return set()
    lines = requirements.read_text(encoding="utf-8").splitlines()
    matches = (re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*==", line) for line in lines)
    return {_normal(match[1]) for match in matches if match}


def constraints(pinned: set[str]) -> list[str]:
    """Return ``name==version`` of each installed package that must stay as it is."""
    kept = []
    for name in sorted({*pinned, *ALWAYS_KEPT}):
        try:
            kept.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return kept


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
