"""How well a prompt explains a drawn picture, by the frozen model: a diffusion classifier.

The prompt that fits a picture is the one with which the model denoises it best (Li et al. 2023, "Your Diffusion Model
is Secretly a Zero-Shot Classifier"; Clark and Jaini 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from erasure.model.conditioning import Conditioning
from erasure.model.model import Model

# Rows of one call; the model splits calls further where memory is short.
ROWS_OF_A_CALL = 64


@dataclass(frozen=True)
class Probes:
    """The noise that is put on every picture: ``noise`` (k, c, h, w) at the timesteps ``t`` (k,).

    All pictures and prompts are compared under the same probes, so that chance falls out of the comparison.
    """

    noise: Tensor
    t: Tensor

    def __len__(self) -> int:
        return len(self.t)

    def to(self, device: torch.device | str) -> Probes:
        """Return the same probes on another device."""
        return Probes(self.noise.to(device), self.t.to(device))


def make_probes(model: Model, timesteps: Sequence[float], seed: int = 0) -> Probes:
    """Make one probe per entry of ``timesteps``, given as shares of the training schedule, each with its own noise."""
    generator = Generator().manual_seed(seed)
    noise = torch.stack([model.noise(generator) for _ in timesteps])
    last = model.train_steps - 1
    t = torch.tensor([min(last, int(share * model.train_steps)) for share in timesteps], device=model.device)
    return Probes(noise, t)


@dataclass(frozen=True)
class Denoised:
    """What the frozen model makes of b pictures with k prompts each, as means over elements and probes.

    ``errors`` (b, k): E || eps(z_t, c) - n ||^2. ``moves`` (b, k): E || eps(z_t, c) - eps(z_t, c_0) ||^2, where c_0 is
    the first prompt.
    """

    errors: Tensor
    moves: Tensor

    def scores(self) -> Tensor:
        """Return s (b, k - 1) of every prompt but the first, against the first.

        s = sum_t ( || eps(z_t, c_0) - n ||^2 - || eps(z_t, c) - n ||^2 ) / sum_t || eps(z_t, c_0) - eps(z_t, c) ||^2:
        1 where the noise is where the prompt predicts it, -1 where the first prompt does. Guided sampling overshoots,
        so that a model's own pictures of a prompt score above 1. 0 for a prompt that the model cannot tell from the
        first.
        """
        gain = self.errors[:, :1] - self.errors[:, 1:]
        moved = self.moves[:, 1:]
        return torch.where(moved > 0, gain / moved.clamp_min(torch.finfo(moved.dtype).tiny), torch.zeros_like(gain))

    def ranks(self) -> list[int]:
        """Return, per picture, how many of its other prompts explain it better than the first: the rank of a class.

        A diffusion classifier orders classes by their errors. Of a picture that is no number, the first is the last.
        """
        as_well = self.errors[:, 1:] >= self.errors[:, :1]
        ranks: list[int] = (~as_well).sum(1).tolist()
        return ranks


@torch.no_grad()
def denoise(model: Model, latents: Tensor, prompts: Sequence[Conditioning], probes: Probes) -> Denoised:
    """Denoise clean latents (b, c, h, w) with k prompts, each a batch of b or of one.

    Takes b * k * len(probes) rows of the frozen model. Returns tensors on the CPU.
    """
    b, k, n = len(latents), len(prompts), len(probes)
    conditioning = Conditioning.cat([prompt if len(prompt) == b else prompt.expand(b) for prompt in prompts])
    alpha = model.alphas_cumprod[probes.t].view(-1, 1, 1, 1)
    errors, moves = torch.zeros(b, k), torch.zeros(b, k)
    pictures = max(1, ROWS_OF_A_CALL // (k * n))
    with model.frozen():
        for start in range(0, b, pictures):
            x = latents[start : start + pictures].to(model.device)
            count = len(x)
            # Rows in the order (prompt, picture, probe).
            z = (alpha.sqrt() * x[:, None] + (1 - alpha).sqrt() * probes.noise).flatten(0, 1)
            rows = [j * b + start + i for j in range(k) for i in range(count) for _ in range(n)]
            eps = model.eps(z.repeat(k, 1, 1, 1), probes.t.repeat(count * k), conditioning[rows])
            eps = eps.view(k, count, n, *eps.shape[1:])
            over = (2, 3, 4, 5)
            errors[start : start + count] = (eps - probes.noise).square().mean(dim=over).T.cpu()
            moves[start : start + count] = (eps - eps[:1]).square().mean(dim=over).T.cpu()
    return Denoised(errors, moves)
