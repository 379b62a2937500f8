"""Peak memory of this process, as the operating system counts it, and the size that forecasts of memory scale from."""

from __future__ import annotations

import math
import sys

FULL_UNET = 859_520_964
"""Weights of SD 1.x's U-Net. What a narrower one takes goes by the square root of its share of them."""

FULL_TEXT = 123_060_480
"""Weights of SD 1.x's text encoder."""

FULL_PROMPT = 77 * 768 * 4
"""Bytes of one prompt's states in fp32, as SD 1.x's text encoder gives them."""

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


def embedding_cache_bytes(prompts: int, text_encoder: int = FULL_TEXT) -> float:
    """What so many different prompts take in a process that remembers them; ``text_encoder``: number of its weights."""
    return min(prompts * FULL_PROMPT * math.sqrt(text_encoder / FULL_TEXT), EMBEDDING_CACHE)
