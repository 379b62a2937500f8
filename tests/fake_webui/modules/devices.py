"""The device of the web UI; ``collected`` counts how often memory was given back."""

from __future__ import annotations

device: object = "gpu"
cpu = "cpu"
collected = 0


def torch_gc() -> None:
    global collected
    collected += 1
