"""Peak memory of this process, as the operating system counts it, and the size that forecasts of memory scale from."""

from __future__ import annotations

import sys

FULL_UNET = 859_520_964
"""Weights of SD 1.x's U-Net. What a narrower one takes goes by the square root of its share of them."""


def peak_process_bytes() -> int:
    """The most physical memory that this process has held so far."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    # macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
