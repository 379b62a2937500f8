"""The best device of this machine."""

from __future__ import annotations


def default_device() -> str:
    """Return ``cuda`` if available, else ``mps``, else ``cpu``."""
    import torch  # here, so that the command line can import this without torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
