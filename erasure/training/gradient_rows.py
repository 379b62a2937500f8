"""How many rows of an update go forward and backward in one call of the U-Net. Needs no torch."""

from __future__ import annotations

from erasure.config.settings import EraseConfig

# Of so many rows without gradients one with gradients takes the memory, roughly.
_WITHOUT_FOR_ONE_WITH = 4


def gradient_rows(max_rows: int, batch: int) -> int:
    """Return how many rows of an update share a call; 0: all.

    ``max_rows``: those of a call without gradients, see :class:`erasure.model.denoiser.Denoiser`. The two rows of each
    pair, of what is erased and what is preserved, always do: memory is measured and told for these.
    """
    return max(2 * batch, max_rows // _WITHOUT_FOR_ONE_WITH) if max_rows else 0


def trained_rows(config: EraseConfig) -> int:
    """Return the rows of an update that go backward, besides those of a search and of a defence."""
    searched = 0 if config.adversary in ("fixed", "whole", "none") else config.batch
    return config.batch + searched + bool(config.preserve or config.adversary == "fixed") + config.rehearsed
