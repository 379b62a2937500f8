"""What cross-attention reads of a prompt: its token states, weighted by the attention paid to them.

A head of cross-attention with values W puts out, at a place of the picture, W x with x = sum_j a_j c_j: the token
states c_j of the prompt, weighted by how much the place looks at each. So these x, and not the states themselves, are
what a change of W meets. They are seen in calls of the frozen U-Net on pure noise, where it is settled what a picture
will show; later steps of sampling tell nothing that these do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from erasure.model.cross_attention import WatchedLayer, watched_cross_attention
from erasure.model.model import Model
from erasure.training.closed_start_sizes import BATCH

# The places of the picture that are taken of each row, evenly spaced.
PLACES = 64


@dataclass
class Attended:
    """Second moments of what layers read, fp32 on the CPU.

    ``own``: E[x x^T] (d, d). ``move``: E[(y - x) x^T] (d, d), with y what they read at the same places if the prompt is
    another one; the number 0 if none was given.
    """

    own: Tensor
    move: Tensor


def stage_of(layer: str) -> str:
    """Return the part of the U-Net that a layer of cross-attention is in: its stack of blocks at one resolution.

    SDXL has 70 layers with d = 2048, whose moments would take gigabytes. Those of one stack, of which there are 11,
    share theirs; in SD 1.x and 2 every layer is a stack of its own.
    """
    return layer.partition(".transformer_blocks.")[0]


@torch.no_grad()
def attended(
    model: Model, prompts: Sequence[str], seed: int, others: Sequence[str] = (), weights: Sequence[float] = ()
) -> dict[str, Attended]:
    """Return the moments by :func:`stage_of`, for all layers of cross-attention.

    ``prompts``: at least one, each on a noise of its own that ``seed`` gives; ``others``: for each of them the prompt
    that y is of; ``weights``: of the prompts in the mean, all the same if none are given. A row of the frozen model for
    every prompt.
    """
    shares = torch.tensor(list(weights) or [1.0] * len(prompts))
    shares = shares / shares.sum()
    depth = Counter(stage_of(name) for name, module in model.unet.named_modules() if name.endswith(".attn2"))
    found: dict[str, Attended] = {}
    each = max(1, BATCH // 2) if others else BATCH
    for first in range(0, len(prompts), each):
        part = slice(first, first + each)
        chosen = [*prompts[part], *others[part]]
        rows = len(prompts[part])
        noise = [model.noise(Generator().manual_seed(seed + first + row)) for row in range(rows)]
        for name, read in _reads(model, torch.stack(noise * (2 if others else 1)), chosen):
            x, stage = read[:rows], stage_of(name)
            weighted = x.transpose(1, 2) * (shares[part] / (x.shape[1] * depth[stage])).to(x)[:, None, None]
            before = found.setdefault(stage, Attended(torch.zeros(()), torch.zeros(())))
            before.own = before.own + (weighted @ x).sum(0).cpu()
            if others:
                before.move = before.move + (weighted @ (read[rows:] - x)).sum(0).T.cpu()
    return found


def _reads(model: Model, noise: Tensor, prompts: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield what each layer reads of b prompts on ``noise`` (b, c, h, w): vectors x (b, heads * places, d), fp32."""
    conditioning = model.embed(prompts)
    t = torch.full((len(prompts),), model.train_steps - 1, device=model.device)
    at_once = model.rows_at_once or len(prompts)
    watched: list[list[WatchedLayer]] = []
    with model.frozen():
        for z, times, part in zip(noise.split(at_once), t.split(at_once), conditioning.split(at_once), strict=True):
            with watched_cross_attention(model.unet, PLACES) as layers:
                model.eps(z, times, part)
            watched.append(layers)
    states = conditioning.states.float()
    for same in zip(*watched, strict=True):
        maps = torch.cat([layer.map() for layer in same])
        yield same[0].name, (maps @ states[:, None]).flatten(1, 2)
