"""Encode augmented pictures and all captions once, before the U-Net is trained.

``python -m emoji_sd.making.latents --work DIR`` reads ``vae/``, ``text_encoder/``, ``tokenizer/`` and ``sources.npy``.
It writes ``latents-0.npz`` and ``latents-1.npz`` (scaled latents float16 (N, 4, 16, 16), concepts, styles), and
``captions.npy`` (float16 (C, 77, 96); row 0 is the empty caption) with the captions' rows in ``captions.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer

from emoji_sd.captions import all_captions
from emoji_sd.making.data import compose_all
from emoji_sd.making.parallel import launch
from emoji_sd.making.precision import autocast
from emoji_sd.making.vae import to_input

PARTS = 2


def _encode(rank: int, world: int, work: Path, variants: int) -> None:
    for part in range(rank, PARTS, world):
        encode_pictures(work, part, variants // PARTS)
    if rank == 0:
        encode_captions(work)


@torch.no_grad()
def encode_pictures(work: Path, part: int, variants: int) -> None:
    """Compose ``variants`` pictures per concept and style, and write their latents to ``latents-<part>.npz``."""
    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    sources = np.load(work / "sources.npy", mmap_mode="r")
    pictures, concepts, styles = compose_all(sources, variants, seed=1000 + part)
    encoded = []
    for start in range(0, len(pictures), 32):
        with autocast("cpu"):
            mean = vae.encode(to_input(pictures[start : start + 32])).latent_dist.mean
        encoded.append((mean.float() * vae.config["scaling_factor"]).half().numpy())
    z = np.concatenate(encoded)
    print(f"part {part}: {z.shape}, mean {z.mean((0, 2, 3))}, deviation {z.std((0, 2, 3))}", flush=True)
    np.savez(work / f"latents-{part}.npz", z=z, concepts=concepts, styles=styles)


@torch.no_grad()
def encode_captions(work: Path, device: str = "cpu") -> None:
    """Write the text states, after the final layer norm, of the empty caption and of every training caption."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    model = CLIPTextModel.from_pretrained(work / "text_encoder").eval().to(device)
    texts = list(dict.fromkeys(["", *(caption for caption, _, _ in all_captions())]))
    states = np.empty((len(texts), 77, 96), np.float16)
    for start in range(0, len(texts), 256):
        batch = tokenizer(
            texts[start : start + 256],
            padding="max_length",
            max_length=77,
            truncation=True,
            return_tensors="pt",
        )
        found = model(batch["input_ids"].to(device)).last_hidden_state
        states[start : start + 256] = found.half().cpu().numpy()
    np.save(work / "captions.npy", states)
    (work / "captions.json").write_text(json.dumps({text: row for row, text in enumerate(texts)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--variants", type=int, default=20, help="pictures per concept and style")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2)
    a = parser.parse_args()
    launch(_encode, a.processes, a.work, a.variants)


if __name__ == "__main__":
    main()
