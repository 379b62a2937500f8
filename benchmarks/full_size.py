"""A whole erasure at full size: a randomly initialised SD 1.x at 512 px, within a limit of GPU memory.

``python -m benchmarks.full_size --cap 5.4 --precision fp16`` writes the checkpoint (2 GiB, once), erases from it, parks
the run on the CPU and takes it back, and prints the time and memory of each part. With random weights only time and
memory mean anything, not the pictures. On a CPU there is no limit, and an update takes minutes.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from emoji_sd import MODEL
from emoji_sd.original_layout import original_state_dict
from erasure.cli.flags import add_config_flags, given_settings
from erasure.config.values import config_from_dict
from erasure.errors import EraseError
from erasure.model.device import default_device
from erasure.model.stage import Stage
from erasure.run.beginning import erase
from erasure.run.folder import RunFolder
from erasure.run.run import Run
from erasure.run.task import Task
from erasure.training.events import Step
from tests.tiny import build_text_encoder, build_unet, build_vae, full_size_config

SETTINGS = {"erase": ["garbage truck"], "layers": "xattn", "neighbours": 20, "templates": ["{}", "a photo of a {}"]}
PAUSE_AFTER = 5
FOLDER, NAME = Path("runs/full-size"), "random-sd.safetensors"


def write_checkpoint(path: Path, device: str, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint with random weights in the original layout."""
    torch.manual_seed(0)
    with torch.device(device):
        unet, vae = build_unet(full_size_config["unet"]), build_vae(full_size_config["vae"])
        text_encoder = build_text_encoder(full_size_config["text"])
    state = original_state_dict(unet, vae, text_encoder)
    stored = {name: (value.to(dtype) if value.is_floating_point() else value).cpu() for name, value in state.items()}
    save_file(stored, path, metadata={"format": "pt"})


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of :func:`model_path`."""
    parser.add_argument("--full-size", action="store_true", help="a randomly initialised SD 1.x instead of emoji-SD")
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="where that is kept")


def model_path(arguments: argparse.Namespace) -> Path:
    """Return the checkpoint to measure; that of full size is made, on ``--device``, if it is not there."""
    if not arguments.full_size:
        return MODEL
    return full_size_checkpoint(arguments.folder, arguments.device)


def full_size_checkpoint(folder: Path, device: str) -> Path:
    """Return the checkpoint of full size in a folder; it is made if it is not there, and leaves no trace in memory."""
    path = folder / NAME
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_checkpoint(path, device)
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
    return path


def memory(device: str) -> str:
    """Return how much GPU memory is allocated now and was at most; "" on a CPU."""
    if not device.startswith("cuda"):
        return ""
    now, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    return f"{now / 2**30:.2f} GiB allocated, peak {peak / 2**30:.2f} GiB"


def move_away(run: Run, device: str) -> str:
    """Park the run and take it back to the device; return the memory in between, and how long the way back took."""
    run.park()
    away, began = memory(device), time.perf_counter()
    run.go_on(device)
    return f"paused: {away}; back in {time.perf_counter() - began:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="(runs/full-size)")
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--cap", type=float, default=0.0, metavar="GIB", help="GPU memory that may be used (no limit)")
    add_config_flags(parser)
    arguments = parser.parse_args()
    device = arguments.device
    config = config_from_dict({**SETTINGS, "steps": 14, **given_settings(arguments)})

    checkpoint = full_size_checkpoint(arguments.folder, device)
    if arguments.cap:
        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(arguments.cap * 2**30 / whole, torch.cuda.current_device())

    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"  # several may run side by side
    out = arguments.folder / f"{name}.safetensors"
    seconds, last = [], time.perf_counter()
    try:
        run = erase(Task(checkpoint, out, RunFolder(arguments.folder / name), config, device))
        for event in run:
            if isinstance(event, Stage):
                continue
            if isinstance(event, Step):
                seconds.append(time.perf_counter() - last)
                if event.step == PAUSE_AFTER:
                    print(move_away(run, device), flush=True)
            else:
                took = time.perf_counter() - last
                print(f"{type(event).__name__.lower()} after {took:.1f} s: {memory(device)}", flush=True)
            last = time.perf_counter()
    except EraseError as error:
        print(f"{type(error).__name__}: {error}; {memory(device)}")
    usual = sorted(seconds[PAUSE_AFTER + 1 :])
    if usual:
        print(f"an update takes {usual[len(usual) // 2]:.2f} s (median of {len(usual)})")


if __name__ == "__main__":
    main()
