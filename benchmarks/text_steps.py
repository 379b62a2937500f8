"""What a step on the text encoders takes at full size: time and peak memory, with random weights.

``python -m benchmarks.text_steps`` builds the text encoders of each family in a process of its own, makes two steps of
the edit that training starts from, for one concept, and prints a table: weights, seconds of the second step, and the
peak memory of the process on a CPU, that of torch's allocator on a GPU (``--device cuda --precision bf16``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.memory import PRECISIONS, peak_bytes
from erasure.config.settings import Precision
from erasure.families.known import FAMILIES


def one(number: int, precision: Precision, device: str) -> dict[str, float]:
    """Measure two steps with the text encoders of a family."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from erasure.config.values import config_from_dict
    from erasure.model.build_parts import text_settings
    from erasure.model.denoiser import DTYPES
    from erasure.model.diffusers_folder import read_config
    from erasure.model.model import Model
    from erasure.model.text_reader import TextReader
    from erasure.model.tokenizer import load_tokenizer
    from erasure.training.text_start_sizes import ERASED, FAR, HURT_MOST, NEAR
    from erasure.training.text_tuning import TextTuning

    family, dtype = FAMILIES[number], DTYPES[precision]
    torch.manual_seed(0)
    readers = []
    for own in family.text_encoders:
        kind: Any = CLIPTextModelWithProjection if own.pooled else CLIPTextModel
        encoder = kind(CLIPTextConfig(**text_settings(read_config(own.config)))).to(device, dtype)
        encoder.eval().requires_grad_(False)
        readers.append(TextReader(encoder, load_tokenizer(own.tokenizer_folder, encoder, family, own.padding), own))
    weights = sum(p.numel() * p.element_size() for reader in readers for p in reader.encoder.parameters())
    parts = SimpleNamespace(texts=tuple(readers))
    model = cast("Model", SimpleNamespace(parts=parts, dtype=dtype, device=torch.device(device)))
    tuning = TextTuning(model, config_from_dict({"erase": ["garbage truck"]}))
    optimizer = tuning.optimizer(1e-4)
    words = [f"a picture of a {word}, highly detailed, sharp focus" for word in ("house", "bus", "dog", "bell")]
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        tuning.step(
            optimizer,
            1e-4,
            ["a picture of a garbage truck, a painting in bright colours"] * ERASED,
            [words] * ERASED,
            [1.0] * ERASED,
            (words * (NEAR + FAR + HURT_MOST))[: NEAR + FAR + HURT_MOST],
            1.0,
        )
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return {"weights": weights, "peak": peak_bytes(device), "seconds": seconds[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu or cuda (cpu)")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument("--family", type=int, help=argparse.SUPPRESS)  # for the processes that this one starts
    arguments = parser.parse_args()
    if arguments.family is not None:
        print(json.dumps(one(arguments.family, arguments.precision, arguments.device)))
        return
    print("| family | weights of the text encoders | peak | seconds of a step |\n|---|---|---|---|")
    for number, family in enumerate(FAMILIES):
        command = [sys.executable, "-m", "benchmarks.text_steps", "--family", str(number)]
        command += ["--device", arguments.device, "--precision", arguments.precision]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        weights, peak = (f"{found[name] / 2**30:.2f} GiB" for name in ("weights", "peak"))
        print(f"| {family.short} | {weights} | {peak} | {found['seconds']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
