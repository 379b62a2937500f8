"""Which packages the host lacks, and the command that installs them. Imports none of them."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import Version

# Later versions of diffusers and peft cannot be imported with an older transformers than this.
_OLD = Version("4.43")
_NARROW = {"diffusers": ">=0.30,<0.32", "peft": ">=0.10,<0.14"}
_WIDE = {"diffusers": ">=0.30", "peft": ">=0.10"}


@dataclass(frozen=True)
class Unmet:
    """A package to install, ``diffusers>=0.30,<0.32``; ``installed`` is the version that is there, or None."""

    name: str
    versions: str
    installed: str | None

    def __str__(self) -> str:
        return f"{self.name}{self.versions}"


def unmet(version: Callable[[str], str] | None = None) -> list[Unmet]:
    """Return what is missing, or installed in a version that does not work here.

    ``version``: a stand-in for :func:`importlib.metadata.version`.
    """
    version = version or importlib.metadata.version
    transformers = _installed("transformers", version)
    modern = transformers is not None and Version(transformers) >= Version("5")
    old = transformers is not None and Version(transformers) < _OLD
    found = []
    for name, accepted in (_NARROW if old else _WIDE).items():
        there = _installed(name, version)
        if there is None or not SpecifierSet(accepted, prereleases=True).contains(there):
            found.append(Unmet(name, (_WIDE if modern else _NARROW)[name], there))
    return found


def advice(missing: list[Unmet]) -> str:
    """Return one line for people: what is wrong, and the command that fixes it."""
    states = [
        "is not installed" if item.installed is None else f"{item.installed} does not work here" for item in missing
    ]
    what = ", ".join(f"{item.name} {state}" for item, state in zip(missing, states, strict=True))
    packages = " ".join(f'"{item}"' for item in missing)
    return f'{what}. Run: "{sys.executable}" -m pip install {packages} and restart the web UI.'


def _installed(name: str, version: Callable[[str], str]) -> str | None:
    try:
        return version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
