"""Peak memory of one update at full size: a randomly initialised SD 1.x at 512 px, rank 8, batch 1.

``python -m benchmarks.memory`` runs each case in a process of its own and prints a table. Peak memory is the
process's on a CPU and the allocator's on a GPU (``--device cuda``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

CASES = [
    (layers, precision, checkpointing)
    for layers in ("xattn", "noxattn")
    for precision in ("fp32", "bf16")
    for checkpointing in (False, True)
]


def one(layers: str, precision: str, checkpointing: bool, device: str) -> dict[str, float]:
    """One row towards a gradient of the LoRA weights and one Adam step: what an update at batch 1 holds at most."""
    import torch
    from diffusers import UNet2DConditionModel

    from erasure.core.denoiser import DTYPES, Denoiser
    from erasure.core.lora import inject_lora, lora_parameters
    from erasure.core.memory import peak_process_bytes

    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[precision])  # type: ignore[index]
    with torch.device(device):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    torch.set_default_dtype(torch.float32)
    unet.requires_grad_(False)
    weights = sum(p.numel() * p.element_size() for p in unet.parameters())
    inject_lora(unet, layers, 8, 8.0, seed=0)  # type: ignore[arg-type]
    if checkpointing:
        unet.enable_gradient_checkpointing()
        unet.train()
    denoiser, optimizer = Denoiser(unet), torch.optim.Adam(lora_parameters(unet))
    loaded = peak_process_bytes()
    began = time.perf_counter()
    # One erased and one preserved row, as an update of batch 1 has.
    z = torch.zeros(2, 4, 64, 64, device=device)
    t, embedding = torch.full((2,), 500, device=device), torch.zeros(2, 77, 768, device=device)
    with torch.no_grad(), denoiser.frozen():
        goal = denoiser(z, t, embedding)
    (denoiser(z, t, embedding) - goal - 1).square().mean().backward()
    optimizer.step()
    cuda = device.startswith("cuda")
    peak = torch.cuda.max_memory_allocated() if cuda else peak_process_bytes()
    return {"weights": weights, "loaded": loaded, "peak": peak, "seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", type=int)
    arguments = parser.parse_args()
    if arguments.case is not None:
        print(json.dumps(one(*CASES[arguments.case], arguments.device)))
        return
    print("| layers | precision | gradient checkpointing | U-Net weights | peak | seconds |\n|---|---|---|---|---|---|")
    for i, (layers, precision, checkpointing) in enumerate(CASES):
        command = [sys.executable, "-m", "benchmarks.memory", "--case", str(i), "--device", arguments.device]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        weights, peak = (f"{found[name] / 2**30:.2f} GiB" for name in ("weights", "peak"))
        kept = "yes" if checkpointing else "no"
        print(f"| {layers} | {precision} | {kept} | {weights} | {peak} | {found['seconds']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
