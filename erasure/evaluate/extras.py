"""Optional packages: imported when a metric needs them, with an error that says how to get them."""

from __future__ import annotations

import importlib
from typing import Any

from erasure.errors import MissingExtra


def need(module: str, extra: str, instead: str = "") -> Any:
    """The module. Raises: MissingExtra naming the extra of this package that brings it."""
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        # Installed but broken (a torchvision built for another torch raises RuntimeError) reads the same to the user.
        also = f", or {instead}" if instead else ""
        raise MissingExtra(
            f"this needs the package {module.split('.')[0]}, which cannot be imported ({error}); install it with "
            f"pip install 'adversarial-erase[{extra}]'{also}"
        ) from error
