"""The adversary that a config names."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from erasure.config.settings import EraseConfig
from erasure.training.adversary.gumbel import GumbelSearch
from erasure.training.adversary.pgd import PgdSearch
from erasure.training.adversary.rerank import RerankSearch
from erasure.training.adversary.search import Adversary, NoSearch, UniformDraw


def choose_adversary(sizes: Sequence[int], config: EraseConfig, device: torch.device) -> Adversary:
    """``sizes``: K per target."""
    if config.adversary == "gumbel":
        return GumbelSearch(sizes, config, device)
    if config.adversary == "pgd":
        return PgdSearch(config)
    if config.adversary == "rerank":
        return RerankSearch(sizes, config)
    return UniformDraw() if config.adversary == "uniform" else NoSearch()
