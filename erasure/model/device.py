"""The best device there is."""

from __future__ import annotations


def default_device() -> str:
    """``cuda`` where there is one, else ``mps``, else ``cpu``."""
    import torch  # here, since the command line asks for this name before it needs torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
