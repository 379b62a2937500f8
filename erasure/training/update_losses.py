"""The two losses of an update, in as many calls of the U-Net as its memory asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from erasure.config.settings import EraseConfig
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.training.gradient_rows import gradient_rows
from erasure.training.latents.source import LatentState, stack
from erasure.training.losses import prediction_loss


class UpdateLosses:
    """L1 + lambda L2 of one update (Bui et al. 2024, Eq. 5).

    ``goal`` (b, c, h, w): what the prompts are to predict; ``groups``: how many of these, in order, are erased, found
    by the search and rehearsed. L2 is the sum of the means over the last two.
    """

    def __init__(self, model: Model, config: EraseConfig, goal: Tensor, groups: Sequence[int]):
        self._model, self._config, self._goal, self._groups = model, config, goal, groups
        self._told: list[Tensor] = []

    def parts(
        self, prompts: Sequence[Prompt], states: Sequence[LatentState], first: Callable[[Tensor], None]
    ) -> Iterator[Tensor]:
        """Yield what adds up to the loss, each from one call of the U-Net.

        ``first``: is told the prediction of the first call, in which all are that are erased. Most models take all rows
        in one call; a large one takes no more at once than the two of each pair, so that what else is preserved needs
        no memory.
        """
        rows = gradient_rows(self._model.rows_at_once, self._config.batch) or len(prompts)
        owners = torch.tensor([group for group, count in enumerate(self._groups) for _ in range(count)])
        for start in range(0, len(prompts), rows):
            chunk = slice(start, start + rows)
            z, t = stack(states[chunk])
            eps = self._model.eps(z, t, Conditioning.cat([prompt.conditioning for prompt in prompts[chunk]]))
            if not start:
                first(eps)
            alphas = self._model.alphas_cumprod[t]
            loss = prediction_loss(eps, self._goal[chunk], alphas, self._config.loss_space)
            own = owners[chunk].to(loss.device)
            erase, *kept = (loss[own == group].sum() / max(1, count) for group, count in enumerate(self._groups))
            preserve = torch.stack(kept).sum()
            self._told.append(torch.stack([erase, preserve]).detach())
            yield erase + self._config.preserve_weight * preserve

    @property
    def told(self) -> tuple[float, float]:
        """L1 and L2, once all parts were made."""
        erase, preserve = torch.stack(self._told).sum(0).tolist()
        return erase, preserve
