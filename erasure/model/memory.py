"""Memory: the peak of this process, as counted by the operating system, and what embeddings take."""

from __future__ import annotations

import math
import sys

from erasure.families.full_size import FullSize

EMBEDDING_CACHE = 2**30
"""Most bytes of embeddings that are remembered. With the style preset, one target has 100 candidates in 14 templates:
331 MB at full size. Every update picks a template at random, so those of three targets should fit, or else a hundred
prompts would have to be embedded in every update."""


def peak_process_bytes() -> int:
    """Return the most physical memory that this process has used so far, in bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    # macOS counts in bytes, Linux in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def embedding_cache_bytes(prompts: int, full: FullSize, text_encoder: int = 0) -> float:
    """Return the bytes that the embeddings of so many different prompts take while they are remembered.

    ``text_encoder``: number of its weights (0: as many as at full size).
    """
    width = math.sqrt((text_encoder or full.text_encoder) / full.text_encoder)
    return min(prompts * full.prompt_bytes * width, EMBEDDING_CACHE)
