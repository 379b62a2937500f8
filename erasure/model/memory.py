"""Peak memory of this process, as the operating system counts it."""

from __future__ import annotations

import math
import sys

from erasure.families.full_size import FullSize

EMBEDDING_CACHE = 2**30
"""Most bytes of embeddings that are remembered. One target of the style preset has 14 templates of 100 candidates,
331 MB at full size, and each update draws a template anew: three such targets should stay, since forgetting them
would mean embedding a hundred prompts in every update."""


def peak_process_bytes() -> int:
    """The most physical memory that this process has held so far."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    # macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def embedding_cache_bytes(prompts: int, full: FullSize, text_encoder: int = 0) -> float:
    """What so many different prompts take in a process that remembers them.

    ``text_encoder``: number of its weights (0: as many as at full size).
    """
    width = math.sqrt((text_encoder or full.text_encoder) / full.text_encoder)
    return min(prompts * full.prompt_bytes * width, EMBEDDING_CACHE)
