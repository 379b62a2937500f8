"""Optional packages and model files, loaded when a metric needs them; the errors say how to get them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from erasure.errors import MissingExtra


def need(module: str, extra: str, instead: str = "") -> Any:
    """Import a module of an optional package.

    ``instead`` is what else the user can do. Raises: MissingExtra naming the extra that installs the package.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        # A package can be installed and still fail, such as a torchvision built for another torch.
        also = f", or {instead}" if instead else ""
        raise MissingExtra(
            f"this needs the package {module.split('.')[0]}, which cannot be imported ({error}). Install it with "
            f"pip install 'adversarial-erase[{extra}]'{also}."
        ) from error


def need_weights(file: Path, what: str, source: str) -> Path:
    """Return ``file`` if it exists; nothing is downloaded.

    Raises: MissingExtra naming the file, what needs it and where to get it.
    """
    if file.is_file():
        return file
    raise MissingExtra(
        f"{what} needs the model file {file.name}, but there is none at {file}. Download it from {source}, and put it "
        "there."
    )


def torch_cache(name: str) -> Path:
    """Return where torchvision and other packages keep downloaded weights of this name."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / name
