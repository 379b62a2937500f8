"""Peak memory at full size: a randomly initialised SD 1.x at 512 px, rank 8, batch 1.

``python -m benchmarks.memory`` runs each case in a process of its own, and prints a table of one update each and a
table of work without gradients: 8 rows of the U-Net, the most in one call, and decoding one picture. Peak memory is
that of the process on a CPU, and that of torch's allocator on a GPU (``--device cuda``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Literal

from erasure.config.settings import LayerChoice, Precision

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

LAYERS: tuple[LayerChoice, ...] = ("xattn", "noxattn")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
CASES: list[tuple[LayerChoice, Precision, bool]] = [
    (layers, precision, checkpointing)
    for layers in LAYERS
    for precision in PRECISIONS
    for checkpointing in (False, True)
]
Work = Literal["rows", "decoding"]
WITHOUT_GRADIENTS: dict[Work, str] = {"rows": "8 rows of the U-Net", "decoding": "decoding one picture"}


def random_unet(precision: Precision, device: str) -> UNet2DConditionModel:
    """Build a full-size U-Net with random weights, frozen."""
    import torch

    from erasure.model.denoiser import DTYPES
    from tests.tiny import build_unet, full_size_config

    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[precision])
    with torch.device(device):
        unet = build_unet(full_size_config["unet"])
    torch.set_default_dtype(torch.float32)
    return unet.requires_grad_(False)


def peak_bytes(device: str) -> int:
    """Return the peak memory so far."""
    import torch

    from erasure.model.memory import peak_process_bytes

    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else peak_process_bytes()


def one(layers: LayerChoice, precision: Precision, checkpointing: bool, device: str) -> dict[str, float]:
    """Measure a gradient of the LoRA weights and an Adam step: the most that an update at batch 1 holds."""
    import torch

    from erasure.lora.adapter import inject_lora, lora_parameters
    from erasure.model.conditioning import Conditioning
    from erasure.model.denoiser import Denoiser

    unet = random_unet(precision, device)
    weights = sum(p.numel() * p.element_size() for p in unet.parameters())
    inject_lora(unet, layers, 8, 8.0, seed=0)
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


def without_gradients(work: Work, precision: Precision, device: str) -> dict[str, float]:
    """Measure what 8 rows of the U-Net, or decoding one picture with the VAE, need beyond the weights."""
    import torch

    from erasure.model.conditioning import Conditioning
    from erasure.model.denoiser import DTYPES, Denoiser
    from tests.tiny import build_vae, full_size_config

    dtype = DTYPES[precision]
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
    """Run a measurement in a process of its own, so that the peak is that of this work alone."""
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu or cuda (cpu)")
    # For the processes that this one starts.
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--work", choices=tuple(WITHOUT_GRADIENTS), help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case is not None:
        layers, precision, checkpointing = CASES[arguments.case]
        print(json.dumps(one(layers, precision, checkpointing, arguments.device)))
        return
    if arguments.work:
        print(json.dumps(without_gradients(arguments.work, arguments.precision, arguments.device)))
        return
    print("| layers | precision | gradient checkpointing | U-Net weights | peak | seconds |\n|---|---|---|---|---|---|")
    for i, (layers, precision, checkpointing) in enumerate(CASES):
        found = measured("--case", str(i), "--device", arguments.device)
        weights, peak = (f"{found[name] / 2**30:.2f} GiB" for name in ("weights", "peak"))
        kept = "yes" if checkpointing else "no"
        print(f"| {layers} | {precision} | {kept} | {weights} | {peak} | {found['seconds']:.0f} |", flush=True)
    print("\n| without gradients, beyond the weights | precision | peak |\n|---|---|---|")
    for work, about in WITHOUT_GRADIENTS.items():
        for precision in PRECISIONS:
            found = measured("--work", work, "--precision", precision, "--device", arguments.device)
            print(f"| {about} | {precision} | {found['beyond'] / 2**30:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
