"""Peak memory of this process, as the operating system counts it."""

from __future__ import annotations

import sys


def peak_process_bytes() -> int:
    """The most physical memory that this process has held so far."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    # macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
