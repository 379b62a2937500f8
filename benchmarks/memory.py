"""Peak memory at full size: a randomly initialised SD 1.x at 512 px, rank 8, batch 1.

``python -m benchmarks.memory`` runs each case in a process of its own and prints a table of one update each, and what
work without gradients takes: 8 rows of the U-Net, which is the most in one call, and decoding one picture. Peak memory
is the process's on a CPU and the allocator's on a GPU (``--device cuda``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

CASES = [
    (layers, precision, checkpointing)
    for layers in ("xattn", "noxattn")
    for precision in ("fp32", "bf16")
    for checkpointing in (False, True)
]


APART = ("rows", "decoding")


def random_unet(precision: str, device: str) -> Any:
    import torch

    from erasure.model.denoiser import DTYPES
    from tests.tiny import build_unet, full_size_config

    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[precision])  # type: ignore[index]
    with torch.device(device):
        unet = build_unet(full_size_config["unet"])
    torch.set_default_dtype(torch.float32)
    return unet.requires_grad_(False)


def peak_bytes(device: str) -> int:
    import torch

    from erasure.model.memory import peak_process_bytes

    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else peak_process_bytes()


def one(layers: str, precision: str, checkpointing: bool, device: str) -> dict[str, float]:
    """One row towards a gradient of the LoRA weights and one Adam step: what an update at batch 1 holds at most."""
    import torch

    from erasure.lora.adapter import inject_lora, lora_parameters
    from erasure.model.conditioning import Conditioning
    from erasure.model.denoiser import Denoiser

    unet = random_unet(precision, device)
    weights = sum(p.numel() * p.element_size() for p in unet.parameters())
    inject_lora(unet, layers, 8, 8.0, seed=0)  # type: ignore[arg-type]
    if checkpointing:
        unet.enable_gradient_checkpointing()
        unet.train()
    denoiser, optimizer = Denoiser(unet), torch.optim.Adam(lora_parameters(unet))
    began = time.perf_counter()
    # One erased and one preserved row, as an update of batch 1 has.
    z = torch.zeros(2, 4, 64, 64, device=device)
    t, prompts = torch.full((2,), 500, device=device), Conditioning(torch.zeros(2, 77, 768, device=device))
    with torch.no_grad(), denoiser.frozen():
        goal = denoiser(z, t, prompts)
    (denoiser(z, t, prompts) - goal - 1).square().mean().backward()
    optimizer.step()
    return {"weights": weights, "peak": peak_bytes(device), "seconds": time.perf_counter() - began}


def apart(work: str, precision: str, device: str) -> dict[str, float]:
    """What it needs beyond the weights: 8 rows of the U-Net without gradients, or the VAE's decoding of one picture."""
    import torch

    from erasure.model.conditioning import Conditioning
    from erasure.model.denoiser import DTYPES, Denoiser
    from tests.tiny import build_vae, full_size_config

    dtype = DTYPES[precision]  # type: ignore[index]
    with torch.no_grad():
        if work == "rows":
            denoiser = Denoiser(random_unet(precision, device))
            z = torch.zeros(8, 4, 64, 64, device=device)
            prompts = Conditioning(torch.zeros(8, 77, 768, device=device))
            loaded = peak_bytes(device)
            denoiser(z, torch.full((8,), 500, device=device), prompts)
        else:
            vae = build_vae(full_size_config["vae"]).to(device, dtype)
            loaded = peak_bytes(device)
            vae.decode(torch.zeros(1, 4, 64, 64, device=device, dtype=dtype))
    return {"beyond": peak_bytes(device) - loaded}


def measured(*arguments: str) -> dict[str, float]:
    """In a process of its own, whose peak is that of this work alone."""
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", type=int)
    parser.add_argument("--apart", choices=APART)
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    if arguments.case is not None:
        print(json.dumps(one(*CASES[arguments.case], arguments.device)))
        return
    if arguments.apart:
        print(json.dumps(apart(arguments.apart, arguments.precision, arguments.device)))
        return
    print("| layers | precision | gradient checkpointing | U-Net weights | peak | seconds |\n|---|---|---|---|---|---|")
    for i, (layers, precision, checkpointing) in enumerate(CASES):
        found = measured("--case", str(i), "--device", arguments.device)
        weights, peak = (f"{found[name] / 2**30:.2f} GiB" for name in ("weights", "peak"))
        kept = "yes" if checkpointing else "no"
        print(f"| {layers} | {precision} | {kept} | {weights} | {peak} | {found['seconds']:.0f} |", flush=True)
    print("\n| without gradients, beyond the weights | precision | peak |\n|---|---|---|")
    for work, told in zip(APART, ("8 rows of the U-Net", "decoding one picture"), strict=True):
        for precision in ("fp32", "bf16"):
            found = measured("--apart", work, "--precision", precision, "--device", arguments.device)
            print(f"| {told} | {precision} | {found['beyond'] / 2**30:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
