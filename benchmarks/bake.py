"""Baking at full size: a LoRA of rank 16 into a randomly initialised SD 1.x, each bake in a process of its own.

``python -m benchmarks.bake --folder DIR`` writes checkpoints in fp16 and fp32 (6.4 GB, once), copies and bakes them,
and prints a table of seconds and of the largest resident memory, libraries included (Linux). A copy is read and written
as a bake is, and waits for the disk in the end.
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

import torch

from benchmarks.full_size import write_checkpoint
from erasure.families.sd1 import SD1
from erasure.lora.adapter import DOWN, UP, base_layers
from erasure.lora.file import write_lora
from tests.tiny import build_unet, full_size_config

RANK = 16
DTYPES = {"fp16": torch.float16, "fp32": torch.float32}
LAYERS = {"cross-attention": "attn2", "all": ""}
_BLOCK = 2**24  # bytes


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


def bake(checkpoint: Path, lora: Path, out: Path) -> tuple[float, float]:
    """Return seconds and peak memory in bytes of a bake, whose result is removed again."""
    arguments = ["bake", "--checkpoint", str(checkpoint), "--lora", str(lora), "--out", str(out)]
    began = time.perf_counter()
    peak = _peak(f"import sys\nfrom erasure.__main__ import main\nassert main({arguments!r}) == 0")
    took = time.perf_counter() - began
    out.unlink()
    return took, peak


def _peak(program: str) -> float:
    """Run a program and return its peak memory in bytes, as Linux knows it of the process itself.

    What ``resource`` tells of a child includes the memory of its parent from before it began.
    """
    program += "\nprint(open('/proc/self/status').read())"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    return next(float(line.split()[1]) * 2**10 for line in told.splitlines() if line.startswith("VmHWM"))


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
        yield precision, size, "a copy", f"{copy(checkpoint, folder / 'copy'):.0f}", ""
        for layers in LAYERS:
            took, peak = bake(checkpoint, folder / f"{layers}.safetensors", folder / "baked.safetensors")
            yield precision, size, layers, f"{took:.0f}", f"{peak / 1e6:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="for all files")
    arguments = parser.parse_args()
    print("| precision | file | layers | seconds | peak memory |\n|---|---|---|---|---|")
    for row in rows(arguments.folder):
        print(f"| {' | '.join(row)} |", flush=True)
    print(f"\nThe libraries alone: {_peak('import erasure.bake.baking, erasure.bake.task') / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
