"""Baking at full size: a LoRA of rank 16 into a randomly initialised SD 1.x, each bake in a process of its own.

``python -m benchmarks.bake --folder DIR`` writes checkpoints in fp16 and fp32 (6.4 GB, once), copies and bakes them,
and prints a table of seconds and of the largest resident memory, libraries included (Linux). A bake is two processes,
one after the other: the first finds the layers, the second writes. A copy is read and written as a bake is, and waits
for the disk in the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.full_size import write_checkpoint
from erasure.families.sd1 import SD1
from erasure.lora.adapter import DOWN, UP
from erasure.lora.file import write_lora
from erasure.lora.layer_choice import base_layers
from tests.tiny import build_unet, full_size_config

RANK = 16
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
LAYERS = {"cross-attention": "attn2", "all": ""}
_BLOCK = 2**24  # bytes


class Peaks(NamedTuple):
    """Largest resident memory in bytes: of the processes that one has started, and of it ``own``."""

    started: float
    own: float


def write_random_lora(path: Path, part: str) -> None:
    """Write a LoRA with random weights for the layers that have ``part`` in their name."""
    with torch.device("meta"):
        layers = base_layers(build_unet(full_size_config["unet"]))
    generator, state = torch.Generator().manual_seed(0), {}
    for name, layer in layers.items():
        if part in name:
            out, *rest = layer.weight.shape
            state[name + DOWN] = torch.randn(RANK, *rest, generator=generator) * 0.01
            state[name + UP] = torch.randn(out, RANK, *(1 for _ in rest[1:]), generator=generator) * 0.01
    write_lora(path, state, family=SD1, alpha=float(RANK), metadata={})


def copy(source: Path, target: Path) -> float:
    """Return the seconds of a copy to the disk, which is removed again."""
    began = time.perf_counter()
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, _BLOCK)
        written.flush()
        os.fsync(written.fileno())
    took = time.perf_counter() - began
    target.unlink()
    return took


def bake(checkpoint: Path, lora: Path, out: Path) -> tuple[float, Peaks]:
    """Return seconds and peak memory of a bake, whose result is removed again."""
    arguments = ["bake", "--checkpoint", str(checkpoint), "--lora", str(lora), "--out", str(out)]
    began = time.perf_counter()
    peaks = _peaks(f"import sys\nfrom erasure.__main__ import main\nassert main({arguments!r}) == 0")
    took = time.perf_counter() - began
    out.unlink()
    return took, peaks


def _peaks(program: str) -> Peaks:
    """Run a program and return its peak memory and that of what it starts, as Linux knows them.

    What ``resource`` tells of a process includes the memory of its parent from before it began. Here, that matters only
    for the program itself: when it starts another, it has little yet.
    """
    program += "\nimport resource\nprint(open('/proc/self/status').read())"
    program += "\nprint('Started:', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    found = {line.split(":")[0]: line.split()[1] for line in told.splitlines() if line.startswith(("VmHWM", "Started"))}
    return Peaks(float(found["Started"]) * 2**10, float(found["VmHWM"]) * 2**10)


def rows(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    for layers, part in LAYERS.items():
        if not (lora := folder / f"{layers}.safetensors").exists():
            write_random_lora(lora, part)
    for precision, dtype in DTYPES.items():
        checkpoint = folder / f"random-{precision}.safetensors"
        if not checkpoint.exists():
            write_checkpoint(checkpoint, "cpu", dtype)
        size = f"{checkpoint.stat().st_size / 1e9:.2f} GB"
        yield precision, size, "a copy", f"{copy(checkpoint, folder / 'copy'):.0f}", "", ""
        for layers in LAYERS:
            took, peaks = bake(checkpoint, folder / f"{layers}.safetensors", folder / "baked.safetensors")
            yield precision, size, layers, f"{took:.0f}", f"{peaks.started / 1e6:.0f} MB", f"{peaks.own / 1e6:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="for all files")
    arguments = parser.parse_args()
    print("| precision | file | layers | seconds | peak, finding layers | peak, writing |\n|---|---|---|---|---|---|")
    for row in rows(arguments.folder):
        print(f"| {' | '.join(row)} |", flush=True)
    for what, module in (("finds the layers", "erasure.model.empty_unet"), ("writes", "erasure.bake.baking")):
        print(f"\nThe libraries of what {what} alone: {_peaks(f'import {module}').own / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
