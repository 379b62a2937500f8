"""Widens weights by repeating channels, so that a wider network computes what the narrow one did.

Net2Net (Chen, Goodfellow, Shlens 2016, arXiv:1511.05641, Section 3.1): a map says for every wide channel which narrow
one it repeats. What a layer writes is repeated, and what it reads is divided by the number of repetitions. Group and
layer norm compute the same if all channels are repeated equally often, and neighbours stay in one group.
"""

from __future__ import annotations

import torch
from torch import Tensor


def evenly(narrow: int, wide: int) -> Tensor:
    """Return the map (``wide``,) that repeats ``narrow`` channels in order, as equally often as it can be."""
    return torch.arange(wide) * narrow // wide


def side_by_side(*parts: tuple[int, int]) -> Tensor:
    """Return the map of concatenated channels; ``parts``: the narrow and the wide number of each."""
    maps, before = [], 0
    for narrow, wide in parts:
        maps.append(evenly(narrow, wide) + before)
        before += narrow
    return torch.cat(maps)


def by_heads(narrow: int, heads: int, wide: int, wide_heads: int) -> Tensor:
    """Return the map of an attention's inner channels: whole heads are repeated, and the channels within a head."""
    own, size = narrow // heads, wide // wide_heads
    head, place = torch.arange(wide) // size, torch.arange(wide) % size
    return head * heads // wide_heads * own + place * own // size


def query_scale(sources: Tensor, heads: int, wide_heads: int) -> Tensor:
    """Return the factor (wide,) of each query channel that keeps the scores q k / sqrt(channels of a head).

    ``sources``: the map that :func:`by_heads` gave. A channel that stands c times in a head counts c times in q k.
    """
    narrow, wide = int(sources.max()) + 1, len(sources)
    in_a_head = counts(sources) * heads / wide_heads
    factor: Tensor = ((wide / wide_heads) / (narrow / heads)) ** 0.5 / in_a_head
    return factor


def counts(sources: Tensor) -> Tensor:
    """Return how often each channel's source is repeated in the map: (wide,) floats."""
    return torch.bincount(sources)[sources].float()


def widen(weight: Tensor, writes: Tensor, reads: Tensor | None = None) -> Tensor:
    """Repeat a weight (out, in, ...) or vector (out,) by the map of what it writes and, of a weight, what it reads."""
    wide = weight[writes]
    if reads is None:
        return wide
    shape = (1, -1) + (1,) * (weight.dim() - 2)
    return wide[:, reads] / counts(reads).view(shape)
