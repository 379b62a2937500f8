"""What cross-attention reads of a prompt: its token states, weighted by the attention paid to them.

A head of cross-attention with values W puts out, at a place of the picture, W x with x = sum_j a_j c_j: the token
states c_j of the prompt, weighted by how much the place looks at each. So these x, and not the states themselves, are
what a change of W meets. They are seen in calls of the frozen U-Net on pure noise, where it is settled what a picture
will show; later steps of sampling tell nothing that these do not.
"""

from __future__ import annotations

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
    """Second moments of what one layer reads, float64 on the CPU.

    ``own``: E[x x^T] (d, d). ``move``: E[(y - x) x^T] (d, d), with y what it reads at the same places if the prompt is
    another one; zeros if none was given.
    """

    own: Tensor
    move: Tensor


@torch.no_grad()
def attended(
    model: Model, prompts: Sequence[str], seed: int, others: Sequence[str] = (), weights: Sequence[float] = ()
) -> dict[str, Attended]:
    """Return the moments for every layer of cross-attention, by the name of the layer of its values.

    ``prompts``: at least one, each on a noise of its own that ``seed`` gives; ``others``: for each of them the prompt
    that y is of; ``weights``: of the prompts in the mean, all the same if none are given. A row of the frozen model for
    every prompt, counted for the start.
    """
    shares = torch.tensor(list(weights) or [1.0] * len(prompts), dtype=torch.float64)
    shares = shares / shares.sum()
    found: dict[str, Attended] = {}
    each = max(1, BATCH // 2) if others else BATCH
    for first in range(0, len(prompts), each):
        part = slice(first, first + each)
        chosen = [*prompts[part], *others[part]]
        rows = len(prompts[part])
        noise = [model.noise(Generator().manual_seed(seed + first + row)) for row in range(rows)]
        for name, read in _reads(model, torch.stack(noise * (2 if others else 1)), chosen):
            x = read[:rows]
            y = read[rows:] if others else x
            weighted = x.transpose(1, 2) * (shares[part] / x.shape[1]).to(x)[:, None, None]
            own, move = (weighted @ x).sum(0), (weighted @ (y - x)).sum(0).T
            before = found.setdefault(name, Attended(torch.zeros((), dtype=torch.float64), torch.zeros(())))
            before.own = before.own + own.double().cpu()
            before.move = before.move + move.double().cpu()
    return found


def _reads(model: Model, noise: Tensor, prompts: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield what each layer reads of b prompts on ``noise`` (b, c, h, w): vectors x (b, heads * places, d), fp32."""
    conditioning = model.embed(prompts)
    t = torch.full((len(prompts),), model.train_steps - 1, device=model.device)
    at_once = model.rows_at_once or len(prompts)
    watched: list[list[WatchedLayer]] = []
    with model.rows.purpose("start"), model.frozen():
        for z, times, part in zip(noise.split(at_once), t.split(at_once), conditioning.split(at_once), strict=True):
            with watched_cross_attention(model.unet) as layers:
                model.eps(z, times, part)
            watched.append(layers)
    states = conditioning.states.float()
    for same in zip(*watched, strict=True):
        maps = torch.cat([layer.map(PLACES) for layer in same])
        yield f"{same[0].name}.to_v", (maps @ states[:, None]).flatten(1, 2)
