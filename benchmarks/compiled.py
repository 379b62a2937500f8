"""Would torch.compile pay? What compiling the U-Net takes, and how much faster rows are then.

``python -m benchmarks.compiled`` compiles emoji-SD's U-Net, or with ``--full-size`` that of a randomly initialised SD
1.x, for calls of sizes that a run makes, and prints for each: seconds until the third call has come back, the
first of which compiles, rows per second without and with it, and after how many rows it has saved its own time. On a
GPU the mode is ``reduce-overhead``, which records CUDA graphs. Compare these rows with those that a run takes.
"""

from __future__ import annotations

import argparse
import math
import time

from benchmarks.calls import rows_per_second
from benchmarks.full_size import add_model_flags, model_path
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.device import default_device
from erasure.model.model import open_model, rows_at_once

SIZES = (2, 16, 32)  # rows of a call: an update's own, and those of drawing and judging
COLUMNS = ("rows of a call", "until the third, s", "rows per second", "compiled", "saves time after rows")


def rows_until_worth_while(seconds: float, plain: float, compiled: float) -> float:
    """Return after how many rows compiling has saved the ``seconds`` it took, given rows per second; inf for never."""
    saved = 1 / plain - 1 / compiled
    return seconds / saved if saved > 0 else math.inf


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--mode", default="", help="of torch.compile (reduce-overhead on a GPU, default on a CPU)")
    add_model_flags(parser)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="rows of a call, separated by commas")
    arguments = parser.parse_args()
    model = open_model(
        inspect_checkpoint(model_path(arguments)), precision=arguments.precision, device=arguments.device
    )
    most = rows_at_once(model.parts, 0)  # larger calls are split
    sizes = sorted({min(most, int(size)) for size in arguments.sizes.split(",")})
    plain = [rows_per_second(model, size) for size in sizes]
    model.unet.compile(mode=arguments.mode or ("default" if arguments.device == "cpu" else "reduce-overhead"))
    print("| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|", sep="\n")
    for size, before in zip(sizes, plain, strict=True):
        began = time.perf_counter()
        rows_per_second(model, size, least_seconds=0)
        first, after = time.perf_counter() - began, rows_per_second(model, size)
        worth = rows_until_worth_while(first, before, after)
        print(f"| {size} | {first:.0f} | {before:.1f} | {after:.1f} | {worth:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
