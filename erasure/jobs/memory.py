"""The memory that models leave behind."""

from __future__ import annotations

import gc
import sys


def free_memory() -> None:
    """Give back the memory that no object holds any more, so that another model has room."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
