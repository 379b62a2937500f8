"""Train the U-Net: SD 1.x's structure, noise prediction, SD's noise schedule.

``python -m emoji_sd.making.unet --work DIR`` reads what ``latents`` wrote. About every five minutes it writes
``run/state.pt`` (to resume from) and ``run/ema.pt`` (the averaged weights); its log is ``run/log.jsonl``. Another width
(``--channels``) has a folder of its own, say ``run-128``. So has a miniature of another family (``--miniature``), which
learns from the shipped U-Net.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from emoji_sd import MODEL
from emoji_sd.making.batches import Batch, Batches
from emoji_sd.making.distillation import Distillation
from emoji_sd.making.miniature import MINIATURES, Miniature
from emoji_sd.making.parallel import launch
from emoji_sd.making.precision import autocast
from emoji_sd.making.widen_unet import widened_unet
from emoji_sd.making.width import SHIPPED, WIDTHS, Width
from erasure.model.loading import load_parts

EMA_DECAY = 0.998
WARMUP = 150

PEAK = 8e-4
"""Learning rate of the width that ships. Adam's must fall as channels grow (Yang et al. 2022, arXiv:2203.03466)."""


@dataclass(frozen=True)
class Settings:
    """Settings of training, which ends after ``steps`` or ``seconds``, whatever comes first.

    ``batch`` counts the rows of all processes; ``save_every`` is in seconds. ``from_shipped`` starts from the widened
    weights of the model that ships, and so does a ``miniature``, for which ``width`` says nothing. ``seconds`` is for
    one process, as several would not end at the same step. Without ``resumable``, the state of the optimizer is not
    written.
    """

    work: Path
    steps: int
    batch: int
    lr: float
    save_every: float = 300.0
    bench: bool = False
    width: Width = SHIPPED
    from_shipped: bool = False
    seconds: float = math.inf
    device: str = "cpu"
    resumable: bool = True
    miniature: Miniature | None = None

    @property
    def run_folder(self) -> Path:
        """Where the U-Net is trained."""
        return (self.miniature or self.width).run_folder(self.work)

    @property
    def made(self) -> dict[str, object]:
        """How the U-Net is made, for the files that hold it."""
        if self.miniature is not None:
            return {"miniature": self.miniature.name, "from_shipped": True, "batch": self.batch, "lr": self.lr}
        channels = self.width.channels
        return {"channels": channels, "from_shipped": self.from_shipped, "batch": self.batch, "lr": self.lr}


def peak_rate(width: Width) -> float:
    """Return the peak of the learning rate if none is given."""
    return PEAK / width.factor


def rate(step: int, progress: float, warmup: int = WARMUP) -> float:
    """Return the learning rate relative to its peak: a warm-up, then a cosine down to almost zero at ``progress`` 1."""
    return min(1.0, (step + 1) / warmup) * max(0.5 * (1 + math.cos(math.pi * progress)), 0.002)


def _save(run: Path, name: str, value: object) -> None:
    torch.save(value, run / f"{name}.part")
    (run / f"{name}.part").replace(run / name)


def start(width: Width, from_shipped: bool) -> UNet2DConditionModel:
    """Return the U-Net that training starts from: random weights, or the shipped ones, widened."""
    torch.manual_seed(401)
    if from_shipped:
        return widened_unet(load_parts(MODEL).unet, SHIPPED, width)
    return UNet2DConditionModel(**width.unet_config())


def start_miniature(miniature: Miniature) -> tuple[UNet2DConditionModel, UNet2DConditionModel]:
    """Return the U-Net of a miniature as it starts, and the shipped one that it learns from."""
    torch.manual_seed(401)
    shipped = load_parts(MODEL)
    return miniature.start(shipped.unet, shipped.text_encoder), shipped.unet


def _noise_loss(text_map: Tensor) -> Callable[[Callable[..., Any], Batch], Tensor]:
    """Return the loss of SD's own training, of a U-Net that reads mapped text states."""

    def loss_of(model: Callable[..., Any], batch: Batch) -> Tensor:
        predicted: Tensor = model(batch.noisy, batch.t, batch.text @ text_map).sample
        return ((predicted.float() - batch.eps).square().mean((1, 2, 3)) * batch.weight).mean()

    return loss_of


def train(rank: int, world: int, s: Settings) -> None:
    """Train in this process, the ``rank``-th of ``world``."""
    if s.miniature is None:
        unet = start(s.width, s.from_shipped).to(s.device)
        loss_of, warmup = _noise_loss(s.width.text_map().T.to(s.device)), WARMUP
    else:
        unet, teacher = (part.to(s.device) for part in start_miniature(s.miniature))
        # It starts near its goal, and its run is short.
        loss_of, warmup = Distillation(s.miniature, s.work, teacher, unet), min(WARMUP, s.steps // 10 + 1)
    if s.device == "cpu":
        unet.set_attn_processor(AttnProcessor())
    ema = copy.deepcopy(unet).requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=s.lr, betas=(0.9, 0.99), weight_decay=1e-3, foreach=True)
    run, first, spent = s.run_folder, 0, 0.0
    run.mkdir(exist_ok=True)
    if (run / "state.pt").exists() and not s.bench:
        # Older torches take no Path for a file that is to be mapped.
        state = torch.load(str(run / "state.pt"), mmap=True, map_location=s.device)
        unet.load_state_dict(state["unet"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        first, spent = state["step"], state.get("seconds", 0.0)
        if state.get("from_shipped", False) != s.made["from_shipped"]:
            how = "from the shipped weights" if not s.from_shipped else "from random weights"
            raise ValueError(f"{run} holds a U-Net that was started {how}: start the same way, or in another folder")
    model = DistributedDataParallel(unet, gradient_as_bucket_view=True) if world > 1 else unet
    batches, began, saved = Batches(s.work), time.monotonic(), time.monotonic()
    running = torch.zeros((), device=s.device)
    for step in range(first, s.steps):
        seconds = spent + time.monotonic() - began
        progress = min(1.0, max(step / s.steps, seconds / s.seconds))
        optimizer.param_groups[0]["lr"] = s.lr * rate(step, progress, warmup)
        batch = batches.draw(step, rank, s.batch // world).to(s.device)
        with autocast(torch.device(s.device).type):
            loss = loss_of(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        if rank:
            continue
        decay = min(EMA_DECAY, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(ema.parameters()), list(unet.parameters()), 1 - decay)
        running = loss.detach() if step == first else 0.98 * running + 0.02 * loss.detach()
        over = step + 1 == s.steps or seconds > s.seconds
        if step % 20 == 19 or over:
            speed = (time.monotonic() - began) / (step + 1 - first)
            row = {
                "step": step + 1,
                "loss": round(running.item(), 5),
                "s_per_step": round(speed, 4),
                "time": time.time(),
            }
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            print(row, flush=True)
        if not s.bench and (time.monotonic() - saved > s.save_every or over):
            saved = time.monotonic()
            _save(run, "ema.pt", ema.state_dict())
            (run / "made.json").write_text(json.dumps({**s.made, "steps": step + 1}), encoding="utf-8")
            if s.resumable:
                parts = {"unet": unet.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
                resumed = {"step": step + 1, "seconds": seconds, "from_shipped": s.made["from_shipped"]}
                _save(run, "state.pt", {**parts, **resumed})
        if over:
            break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--channels", type=int, choices=WIDTHS, default=SHIPPED.channels[0], help="of the finest level")
    parser.add_argument("--from-shipped", action="store_true", help="start from the shipped U-Net, widened")
    parser.add_argument("--miniature", choices=MINIATURES, help="of another family; starts from the shipped U-Net")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, help="peak (8e-4 x 64 / channels)")
    parser.add_argument("--save-every", type=float, default=300.0, help="seconds")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--bench", action="store_true", help="only measure speed: save and resume nothing")
    a = parser.parse_args()
    width = WIDTHS[a.channels]
    lr = peak_rate(width) if a.lr is None else a.lr
    settings = Settings(
        a.work,
        a.steps,
        a.batch,
        lr,
        a.save_every,
        a.bench,
        width,
        a.from_shipped,
        miniature=MINIATURES[a.miniature] if a.miniature else None,
    )
    launch(train, a.processes, settings)


if __name__ == "__main__":
    main()
