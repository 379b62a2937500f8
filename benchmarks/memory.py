"""Peak memory at full size: a randomly initialised model, rank 8, batch 1.

``python -m benchmarks.memory`` runs each case in a process of its own, and prints a table of one update each and a
table of work without gradients: 8 rows of the U-Net, the most in one call, and decoding one picture. Peak memory is
that of the process on a CPU, and that of torch's allocator on a GPU (``--device cuda``). It is SD 1.x at 512 px;
``--family SDXL --pixels 1024`` is another. ``--updates xattn-bf16-yes`` measures chosen updates alone: layers,
precision, and whether with gradient checkpointing. ``--give-back`` leaves out what the C library keeps of freed memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Literal

from erasure.config.settings import LayerChoice, Precision
from erasure.families.family import Family
from erasure.families.known import FAMILIES

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from erasure.model.conditioning import Conditioning

LAYERS: tuple[LayerChoice, ...] = ("xattn", "noxattn")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
CASES: dict[str, tuple[LayerChoice, Precision, bool]] = {
    f"{layers}-{precision}-{'yes' if checkpointing else 'no'}": (layers, precision, checkpointing)
    for layers in LAYERS
    for precision in PRECISIONS
    for checkpointing in (False, True)
}
# Has glibc give back the memory of every tensor above 1 MiB at once. Otherwise it keeps what is freed between tensors
# that live on, which can be more than all tensors of an update take.
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
BY_NAME: dict[str, Family] = {family.short: family for family in FAMILIES}
Work = Literal["rows", "decoding"]
WITHOUT_GRADIENTS: dict[Work, str] = {"rows": "8 rows of the U-Net", "decoding": "decoding one picture"}


def random_unet(precision: Precision, device: str, family: Family = FAMILIES[0]) -> UNet2DConditionModel:
    """Build a full-size U-Net with random weights, frozen."""
    import torch
    import yaml
    from diffusers import UNet2DConditionModel

    from erasure.model.build_parts import unet_config_from_ldm
    from erasure.model.denoiser import DTYPES

    document = yaml.safe_load(family.yaml.read_bytes())
    side = family.full.pixels // family.pixels_per_latent
    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[precision])
    with torch.device(device):
        unet = UNet2DConditionModel(**unet_config_from_ldm(document, side, family.yaml.name))
    torch.set_default_dtype(torch.float32)
    return unet.requires_grad_(False)


def prompts_for(unet: UNet2DConditionModel, family: Family, rows: int, device: str) -> Conditioning:
    """Return what a U-Net is told of as many empty prompts, of the right shape."""
    import torch

    from erasure.model.conditioning import Conditioning
    from erasure.model.denoiser import SIZES

    states = torch.zeros(rows, family.tokens, unet.config.cross_attention_dim, device=device)
    pooled = unet.config.projection_class_embeddings_input_dim
    if pooled is None:
        return Conditioning(states)
    return Conditioning(states, torch.zeros(rows, pooled - SIZES * unet.config.addition_time_embed_dim, device=device))


def peak_bytes(device: str) -> int:
    """Return the peak memory so far."""
    import torch

    from erasure.model.memory import peak_process_bytes

    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else peak_process_bytes()


def one(case: str, device: str, family: Family, pixels: int) -> dict[str, float]:
    """Measure a gradient of the LoRA weights and an Adam step: the most that an update at batch 1 holds."""
    import torch

    from erasure.lora.adapter import inject_lora, lora_parameters
    from erasure.model.denoiser import Denoiser

    layers, precision, checkpointing = CASES[case]
    unet = random_unet(precision, device, family)
    weights = sum(p.numel() * p.element_size() for p in unet.parameters())
    inject_lora(unet, layers, 8, 8.0, seed=0)
    if checkpointing:
        unet.enable_gradient_checkpointing()
        unet.train()
    denoiser, optimizer = Denoiser(unet), torch.optim.Adam(lora_parameters(unet))
    began, side = time.perf_counter(), pixels // family.pixels_per_latent
    # One erased and one preserved row, as an update of batch 1 has.
    z = torch.zeros(2, family.latent_channels, side, side, device=device)
    t, prompts = torch.full((2,), 500, device=device), prompts_for(unet, family, 2, device)
    with torch.no_grad(), denoiser.frozen():
        goal = denoiser(z, t, prompts)
    (denoiser(z, t, prompts) - goal - 1).square().mean().backward()
    optimizer.step()
    return {"weights": weights, "peak": peak_bytes(device), "seconds": time.perf_counter() - began}


def without_gradients(work: Work, precision: Precision, device: str, family: Family, pixels: int) -> dict[str, float]:
    """Measure what 8 rows of the U-Net, or decoding one picture with the VAE, need beyond the weights."""
    import torch

    from erasure.model.denoiser import DTYPES, Denoiser
    from tests.tiny import build_vae, full_size_config

    dtype, side = DTYPES[precision], pixels // family.pixels_per_latent
    with torch.no_grad():
        if work == "rows":
            denoiser = Denoiser(random_unet(precision, device, family))
            z = torch.zeros(8, family.latent_channels, side, side, device=device)
            prompts = prompts_for(denoiser.unet, family, 8, device)
            loaded = peak_bytes(device)
            denoiser(z, torch.full((8,), 500, device=device), prompts)
        else:
            vae = build_vae(full_size_config["vae"]).to(device, dtype)
            loaded = peak_bytes(device)
            vae.decode(torch.zeros(1, family.latent_channels, side, side, device=device, dtype=dtype))
    return {"beyond": peak_bytes(device) - loaded}


def measured(*arguments: str, give_back: bool) -> dict[str, float]:
    """Run a measurement in a process of its own, so that the peak is that of this work alone."""
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    environment = {**os.environ, **(GIVEN_BACK if give_back else {})}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu or cuda (cpu)")
    parser.add_argument("--family", default=FAMILIES[0].short, choices=tuple(BY_NAME))
    parser.add_argument("--pixels", type=int, default=0, help="side of the pictures (those the family was made for)")
    parser.add_argument("--updates", nargs="+", choices=tuple(CASES), metavar="CASE", help=f"{', '.join(CASES)} (all)")
    parser.add_argument("--give-back", action="store_true", help="let glibc keep no freed memory, which takes longer")
    # For the processes that this one starts.
    parser.add_argument("--case", choices=tuple(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--work", choices=tuple(WITHOUT_GRADIENTS), help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    family = BY_NAME[arguments.family]
    pixels, device = arguments.pixels or family.full.pixels, arguments.device
    if arguments.case is not None:
        print(json.dumps(one(arguments.case, device, family, pixels)))
        return
    if arguments.work:
        print(json.dumps(without_gradients(arguments.work, arguments.precision, device, family, pixels)))
        return
    same = ("--device", device, "--family", family.short, "--pixels", str(pixels))
    print("| layers | precision | gradient checkpointing | U-Net weights | peak | seconds |\n|---|---|---|---|---|---|")
    for case in arguments.updates or CASES:
        layers, precision, checkpointing = CASES[case]
        found = measured("--case", case, *same, give_back=arguments.give_back)
        weights, peak = (f"{found[name] / 2**30:.2f} GiB" for name in ("weights", "peak"))
        kept = "yes" if checkpointing else "no"
        print(f"| {layers} | {precision} | {kept} | {weights} | {peak} | {found['seconds']:.0f} |", flush=True)
    if arguments.updates:
        return
    print("\n| without gradients, beyond the weights | precision | peak |\n|---|---|---|")
    for work, about in WITHOUT_GRADIENTS.items():
        for precision in PRECISIONS:
            found = measured("--work", work, "--precision", precision, *same, give_back=arguments.give_back)
            print(f"| {about} | {precision} | {found['beyond'] / 2**30:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
