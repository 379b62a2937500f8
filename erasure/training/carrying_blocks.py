"""Which blocks of the U-Net carry a concept: those in which an edit moves predictions from it to its anchor.

In the others an edit changes what is read as well, but what is read there hardly matters for what a picture shows: it
costs other prompts something and erases nothing. Which blocks those are differs from model to model, so it is measured:
the edit is put into one block after the other, and how much of the way from eps(c_e) to eps(c_n) predictions then go is
the share of that block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from erasure.lora.adapter import UP, load_lora_state
from erasure.model.model import Model

# A block carries the concept if its share is at least this part of the largest one.
LEAST_SHARE = 0.15


def block_of(layer: str) -> str:
    """Return the block of the U-Net, by module path, that a layer of attention is in."""
    return layer.partition(".attentions.")[0]


def carrying_blocks(shares: Mapping[str, float]) -> frozenset[str]:
    """Return the blocks that carry a concept; all of them if none does. ``shares``: see :func:`block_shares`."""
    most = max(shares.values(), default=0.0)
    return frozenset(block for block, share in shares.items() if most <= 0 or share >= LEAST_SHARE * most)


@torch.no_grad()
def block_shares(
    model: Model, edit: Mapping[str, Tensor], prompts: Sequence[str], anchors: Sequence[str], seed: int
) -> dict[str, float]:
    """Return, by block, the mean share of the way that some prompts go to their anchors.

    ``edit``: the LoRA's weights with the edit in its values, as :func:`erasure.lora.adapter.lora_state` returns them;
    ``anchors``: of each prompt the one that it is to become. On pure noise, where it is settled what a picture will
    show. For each prompt two rows of the frozen model, and one more for each block. The LoRA on the model's U-Net is
    ``edit`` afterwards.
    """
    noise = torch.stack([model.noise(Generator().manual_seed(seed + number)) for number in range(len(prompts))])
    with model.frozen():
        own, goal = _first_eps(model, [*prompts, *anchors], torch.cat([noise, noise])).chunk(2)
    way = goal - own
    edited = [key for key, weight in edit.items() if key.endswith(UP) and bool(weight.any())]
    shares = {}
    for block in dict.fromkeys(map(block_of, edited)):
        elsewhere = {key: torch.zeros_like(edit[key]) for key in edited if block_of(key) != block}
        load_lora_state(model.unet, {**edit, **elsewhere})
        moved = _first_eps(model, prompts, noise) - own
        shares[block] = float(((moved * way).sum(1) / way.square().sum(1).clamp_min(1e-12)).mean())
    load_lora_state(model.unet, edit)
    return shares


def _first_eps(model: Model, prompts: Sequence[str], noise: Tensor) -> Tensor:
    """Return eps (b, c * h * w) of prompts on ``noise`` (b, c, h, w) at the first step of sampling."""
    t = torch.full((len(prompts),), model.train_steps - 1, device=model.device)
    return model.eps(noise, t, model.embed(prompts)).flatten(1)
