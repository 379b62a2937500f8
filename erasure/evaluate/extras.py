"""Optional packages and model files: asked for when a metric needs them, with an error that says how to get them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from erasure.errors import MissingExtra


def need(module: str, extra: str, instead: str = "") -> Any:
    """The module. Raises: MissingExtra naming the extra of this package that brings it."""
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        # One that is installed but broken (a torchvision built for another torch) reads the same to the user.
        also = f", or {instead}" if instead else ""
        raise MissingExtra(
            f"this needs the package {module.split('.')[0]}, which cannot be imported ({error}); install it with "
            f"pip install 'adversarial-erase[{extra}]'{also}"
        ) from error


def need_weights(file: Path, what: str, source: str) -> Path:
    """The file itself. Raises: MissingExtra naming it, what needs it and where it comes from; nothing is downloaded."""
    if file.is_file():
        return file
    raise MissingExtra(
        f"{what} needs the model file {file.name}, which is not at {file}; download it from {source} on a machine with "
        "a connection, and put it there"
    )


def torch_cache(name: str) -> Path:
    """Where torchvision and others look for downloaded weights."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / name
