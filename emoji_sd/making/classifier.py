"""Train the classifier on the composed pictures and on their reconstructions by the VAE.

``python -m emoji_sd.making.classifier --work DIR`` reads ``sources.npy``, ``vae/`` and ``latents-0.npz``, writes
``classifier.safetensors`` and prints the accuracy on held-out augmentations (place, size, turn, mirroring, background):
they are drawn with another seed, and half of them go through the VAE. The drawings themselves are few and all known.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from emoji_sd.classifier import SIDE, EmojiClassifier, to_tensor
from emoji_sd.concepts import CONCEPTS, NAMES, STYLES
from emoji_sd.making.data import compose_all
from emoji_sd.making.precision import autocast
from emoji_sd.making.vae import to_input


def _small(pictures: np.ndarray) -> Tensor:
    return to_tensor([Image.fromarray(picture) for picture in pictures])


@torch.no_grad()
def _decoded(vae: AutoencoderKL, z: Tensor) -> Tensor:
    """Decode scaled latents (n, 4, 16, 16) to pictures (n, 3, 64, 64)."""
    parts = []
    for chunk in z.split(32):
        with autocast("cpu"):
            pictures = vae.decode(chunk / vae.config["scaling_factor"]).sample.float().clamp(-1, 1)
        parts.append(F.avg_pool2d(pictures, pictures.shape[-1] // SIDE))
    return torch.cat(parts)


def _spoiled(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift a batch, blur it, add noise and change its colours, since generated pictures may look like that."""
    dy, dx = (int(torch.randint(-4, 5, (), generator=generator)) for _ in range(2))
    x = F.pad(x, (4, 4, 4, 4), mode="replicate")[..., 4 + dy : 4 + dy + SIDE, 4 + dx : 4 + dx + SIDE]
    if torch.rand((), generator=generator) < 0.4:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    strength = torch.rand((len(x), 1, 1, 1), generator=generator)
    x = x + 0.25 * strength * torch.randn(x.shape, generator=generator)
    return x * (1 + 0.3 * (torch.rand((len(x), 3, 1, 1), generator=generator) - 0.5))


def _accuracy(network: EmojiClassifier, x: Tensor, concepts: Tensor, styles: Tensor) -> tuple[float, float]:
    """Return the shares of pictures whose concept and whose style is recognised."""
    with torch.no_grad():
        logits = [network(part) for part in x.split(128)]
    concept = torch.cat([c for c, _ in logits]).argmax(1)
    style = torch.cat([s for _, s in logits]).argmax(1)
    return float((concept == concepts).float().mean()), float((style == styles).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=64)
    a = parser.parse_args()
    torch.manual_seed(500)
    generator = torch.Generator().manual_seed(501)
    sources = np.load(a.work / "sources.npy", mmap_mode="r")
    vae = AutoencoderKL.from_pretrained(a.work / "vae").eval()

    pictures, concepts, styles = compose_all(sources, 8, seed=502)
    latents = np.load(a.work / "latents-0.npz")
    rows = np.random.default_rng(503).permutation(len(latents["z"]))[:1680]
    x = torch.cat([_small(pictures), _decoded(vae, torch.from_numpy(latents["z"][rows]).float())])
    y = torch.from_numpy(np.concatenate([concepts, latents["concepts"][rows]]))
    s = torch.from_numpy(np.concatenate([styles, latents["styles"][rows]]))

    network = EmojiClassifier(len(CONCEPTS), len(STYLES))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=a.steps)
    for step in range(a.steps):
        picked = torch.randint(len(x), (a.batch,), generator=generator)
        with autocast("cpu"):
            concept, style = network(_spoiled(x[picked], generator))
        loss = F.cross_entropy(concept.float(), y[picked], label_smoothing=0.05)
        loss = loss + F.cross_entropy(style.float(), s[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if step % 50 == 49:
            print(f"step {step + 1} loss {loss.item():.3f}", flush=True)

    network.eval()
    held, concepts, styles = compose_all(sources, 2, seed=504)
    half = len(held) // 2
    with torch.no_grad():
        z = [vae.encode(part).latent_dist.mean for part in to_input(held[half:]).split(32)]
    seen = torch.cat([_small(held[:half]), _decoded(vae, torch.cat(z) * vae.config["scaling_factor"])])
    concept, style = _accuracy(network, seen, torch.from_numpy(concepts), torch.from_numpy(styles))
    print(f"held out: concept {concept:.4f}, style {style:.4f}", flush=True)
    weights = {k: v.half() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    accuracy = {"held_out_concept": f"{concept:.4f}", "held_out_style": f"{style:.4f}"}
    labels = {"concepts": json.dumps(NAMES), "styles": json.dumps(STYLES), **accuracy}
    save_file(weights, a.work / "classifier.safetensors", metadata=labels)


if __name__ == "__main__":
    main()
