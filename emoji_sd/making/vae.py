"""Train the autoencoder: f = 8, four latent channels, 128 px, 3.2 M parameters.

``python -m emoji_sd.making.vae --work DIR`` reads ``sources.npy`` and writes ``vae/`` in diffusers' layout, with the
latents' mean and deviation folded into ``quant_conv`` and ``post_quant_conv``.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch.nn.parallel import DistributedDataParallel

from emoji_sd.making.data import compose_all
from emoji_sd.making.parallel import launch
from emoji_sd.making.precision import autocast

CONFIG: dict[str, object] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [64, 64, 64, 128],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 128,
    "scaling_factor": 0.18215,
}
WHOLE_FROM = 0.7


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """Convert uint8 (B, H, W, 3) to float (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def _gradient(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return L1 + gradient L1 + 4 x MSE of 8 x 8 averages; the last term preserves the colour of large areas."""
    edges = sum(F.l1_loss(a, b) for a, b in zip(_gradient(output), _gradient(target), strict=True))
    colour = F.mse_loss(F.avg_pool2d(output, 8), F.avg_pool2d(target, 8))
    return F.l1_loss(output, target) + edges + 4 * colour


class _Losses(torch.nn.Module):
    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        posterior = self.vae.encode(x).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss: torch.Tensor = reconstruction_loss(self.vae.decode(z).sample.float(), x) + 2e-4 * kl
        return loss


def fold_statistics(vae: AutoencoderKL, pictures: torch.Tensor) -> None:
    """Give ``scaling_factor * latents`` zero mean and unit variance per channel by changing two 1x1 convolutions."""
    with torch.no_grad():
        z = torch.cat([vae.encode(part).latent_dist.mean for part in pictures.split(32)])
        mean, target = z.mean((0, 2, 3)), 1 / vae.config["scaling_factor"]
        ratio = target / z.std((0, 2, 3))
        quant, post = vae.quant_conv, vae.post_quant_conv
        quant.weight[:4] *= ratio.view(4, 1, 1, 1)
        quant.bias[:4] = (quant.bias[:4] - mean) * ratio
        quant.bias[4:] += 2 * ratio.log()
        post.bias += post.weight[:, :, 0, 0] @ mean
        post.weight /= ratio.view(1, 4, 1, 1)


def psnr(vae: AutoencoderKL, pictures: torch.Tensor) -> float:
    """Return the mean peak signal-to-noise ratio, in dB, of pictures in [-1, 1] after encoding and decoding."""
    with torch.no_grad():
        out = torch.cat([vae.decode(vae.encode(p).latent_dist.mean).sample for p in pictures.split(32)])
    error = (out.clamp(-1, 1) - pictures).square().mean((1, 2, 3))
    return float((10 * torch.log10(4 / error)).mean())


def _batch(pictures: np.ndarray, count: int, crop: bool, rng: np.random.Generator) -> torch.Tensor:
    """Draw ``count`` whole pictures, or four times as many 64 px crops (the same cost, more variety)."""
    if not crop:
        return to_input(pictures[rng.integers(0, len(pictures), count)])
    parts = []
    for row in rng.integers(0, len(pictures), 4 * count):
        y, x = rng.integers(0, 65, 2)
        parts.append(pictures[row, y : y + 64, x : x + 64])
    return to_input(np.stack(parts))


def _train(rank: int, world: int, work: Path, steps: int, batch: int, peak: float) -> None:
    torch.manual_seed(100)
    sources = np.load(work / "sources.npy", mmap_mode="r")
    pictures, *_ = compose_all(sources, 8, seed=rank)
    held_out = to_input(compose_all(sources, 1, seed=99)[0][::3])
    vae = AutoencoderKL(**CONFIG)
    model = DistributedDataParallel(_Losses(vae))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=1e-4)
    rng, began, running = np.random.default_rng(rank), time.time(), 0.0
    torch.manual_seed(200 + rank)
    for step in range(steps):
        scale = min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = peak * max(scale, 0.01)
        x = _batch(pictures, batch // world, step < WHOLE_FROM * steps, rng)
        with autocast("cpu"):
            loss = model(x)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        running = 0.95 * running + 0.05 * loss.item() if step else loss.item()
        if rank == 0 and step % 25 == 24:
            speed = (time.time() - began) / (step + 1)
            print(f"step {step + 1} loss {running:.4f} {speed:.3f} s/step", flush=True)
        if rank == 0 and step % 150 == 149:
            print(f"psnr {psnr(vae.eval(), held_out[::9]):.2f} dB", flush=True)
            vae.train()
    if rank == 0:
        vae.eval()
        vae.save_pretrained(work / "vae-unfolded")
        fold_statistics(vae, to_input(pictures[rng.permutation(len(pictures))[:512]]))
        vae.save_pretrained(work / "vae")
        print(f"held out: {psnr(vae, held_out[::2]):.2f} dB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=640)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--processes", type=int, default=2)
    a = parser.parse_args()
    launch(_train, a.processes, a.work, a.steps, a.batch, a.lr)


if __name__ == "__main__":
    main()
