"""Train the U-Net: SD 1.x's structure with small channels, noise prediction, SD's noise schedule.

``python -m emoji_sd.making.unet --work DIR`` reads what ``latents`` wrote. About every five minutes it writes
``run/state.pt`` (to resume from) and ``run/ema.pt`` (the averaged weights); its log is ``run/log.jsonl``.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from emoji_sd.captions import draw_caption
from emoji_sd.concepts import CONCEPTS, STYLES
from emoji_sd.making.parallel import launch

CONFIG: dict[str, object] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [64, 128, 128, 128],
    "layers_per_block": 2,
    "cross_attention_dim": 96,
    # In SD 1.x this field holds the number of heads.
    "attention_head_dim": 4,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
DROPPED_CAPTIONS = 0.10
EMA_DECAY = 0.998
WARMUP = 150


@dataclass(frozen=True)
class Settings:
    """Settings of training. ``batch`` counts the rows of all processes; ``save_every`` is in seconds."""

    work: Path
    steps: int
    batch: int
    lr: float
    save_every: float
    bench: bool


def alphas_cumprod() -> Tensor:
    """Return alpha_bar (1000,) of SD's ``scaled_linear`` schedule, 0.00085 to 0.012 in 1000 steps."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    return (1 - betas).cumprod(0).float()


class Batches:
    """Draws batches that depend only on (step, rank), so that a resumed run sees what an uninterrupted one would."""

    def __init__(self, work: Path) -> None:
        parts = [np.load(path) for path in sorted(work.glob("latents-*.npz"))]
        self.z = torch.from_numpy(np.concatenate([part["z"] for part in parts]))
        self.concepts = np.concatenate([part["concepts"] for part in parts])
        self.styles = np.concatenate([part["styles"] for part in parts])
        self.states = np.load(work / "captions.npy", mmap_mode="r")
        self.rows: dict[str, int] = json.loads((work / "captions.json").read_text())
        self.alpha_bar = alphas_cumprod()

    def draw(self, step: int, rank: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Draw z_t and eps (count, 4, 16, 16), t (count,), text states (count, 77, 96), min-SNR-5 weights (count,)."""
        rng = np.random.default_rng([400, step, rank])
        words = random.Random(int(rng.integers(2**31)))
        picked = rng.integers(0, len(self.z), count)
        rows = []
        for number in picked:
            caption = draw_caption(CONCEPTS[self.concepts[number]], STYLES[self.styles[number]], words)
            rows.append(0 if words.random() < DROPPED_CAPTIONS else self.rows[caption])
        text = torch.from_numpy(self.states[rows]).float()
        z = self.z[torch.from_numpy(picked)].float()
        eps = torch.from_numpy(rng.standard_normal(z.shape, dtype=np.float32))
        t = torch.from_numpy(((np.arange(count) + rng.random(count)) / count * 1000).astype(np.int64))
        alpha_bar = self.alpha_bar[t].view(-1, 1, 1, 1)
        snr = (alpha_bar / (1 - alpha_bar)).flatten()
        return alpha_bar.sqrt() * z + (1 - alpha_bar).sqrt() * eps, eps, t, text, snr.clamp(max=5) / snr


def rate(step: int, steps: int) -> float:
    """Return the learning rate relative to its peak: a warm-up, then a cosine down to almost zero."""
    return min(1.0, (step + 1) / WARMUP) * max(0.5 * (1 + math.cos(math.pi * step / steps)), 0.002)


def _save(run: Path, name: str, value: object) -> None:
    torch.save(value, run / f"{name}.part")
    (run / f"{name}.part").replace(run / name)


def _train(rank: int, world: int, s: Settings) -> None:
    torch.manual_seed(401)
    unet = UNet2DConditionModel(**CONFIG)
    unet.set_attn_processor(AttnProcessor())
    ema = copy.deepcopy(unet).requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=s.lr, betas=(0.9, 0.99), weight_decay=1e-3, foreach=True)
    run, first = s.work / "run", 0
    run.mkdir(exist_ok=True)
    if (run / "state.pt").exists() and not s.bench:
        state = torch.load(run / "state.pt", mmap=True)
        unet.load_state_dict(state["unet"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    model = DistributedDataParallel(unet, gradient_as_bucket_view=True)
    batches, began, saved, running = Batches(s.work), time.time(), time.time(), 0.0
    for step in range(first, s.steps):
        optimizer.param_groups[0]["lr"] = s.lr * rate(step, s.steps)
        noisy, eps, t, text, weight = batches.draw(step, rank, s.batch // world)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = model(noisy, t, text).sample
        loss = ((predicted.float() - eps).square().mean((1, 2, 3)) * weight).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        if rank:
            continue
        decay = min(EMA_DECAY, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(ema.parameters()), list(unet.parameters()), 1 - decay)
        running = loss.item() if step == first else 0.98 * running + 0.02 * loss.item()
        if step % 20 == 19:
            speed = (time.time() - began) / (step + 1 - first)
            row = {
                "step": step + 1,
                "loss": round(running, 5),
                "s_per_step": round(speed, 4),
                "time": time.time(),
            }
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            print(row, flush=True)
        if not s.bench and (time.time() - saved > s.save_every or step + 1 == s.steps):
            saved = time.time()
            _save(run, "ema.pt", ema.state_dict())
            parts = {"unet": unet.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
            _save(run, "state.pt", {**parts, "step": step + 1})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--save-every", type=float, default=300.0, help="seconds")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--bench", action="store_true", help="only measure speed: save and resume nothing")
    a = parser.parse_args()
    launch(_train, a.processes, Settings(a.work, a.steps, a.batch, a.lr, a.save_every, a.bench))


if __name__ == "__main__":
    main()
