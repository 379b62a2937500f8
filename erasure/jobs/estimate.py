"""What a run will take, before it starts: from file headers and earlier runs, without loading a model."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, EraseError
from erasure.jobs.readiness import readiness
from erasure.jobs.speed import Speed, past_speeds
from erasure.model.memory import FULL_UNET, embedding_cache_bytes
from erasure.model.size import ModelSize, model_size
from erasure.run.forecast import forecast_rows, remembered_prompts

__all__ = ["Estimate", "estimate", "readiness"]

GIB = 2**30
# Peak of one update of a full-size SD 1.x at 512 pixels, rank 8, batch 1, less its weights and the libraries: README,
# "Memory", by (layers beyond cross-attention, half precision, gradient checkpointing). In bytes.
_LIBRARIES = 0.4 * GIB
_ACTIVATIONS = {
    (False, False, False): 3.94 * GIB,
    (False, False, True): 2.37 * GIB,
    (False, True, False): 1.95 * GIB,
    (False, True, True): 0.85 * GIB,
    (True, False, False): 5.43 * GIB,
    (True, False, True): 3.03 * GIB,
    (True, True, False): 2.66 * GIB,
    (True, True, True): 1.38 * GIB,
}
_DECODING = 1.03 * GIB  # of one picture by the VAE in fp32, beyond its weights: in the same place
_FULL_VAE = 83_653_863  # weights of SD 1.x's VAE
_FULL_PIXELS = 512
# Seconds per row of the same table on two CPU cores (four rows in 42 seconds), and what a row costs however small
# the model is (seen on emoji-SD).
_CPU_SECONDS, _CPU_LEAST, _CPU_CORES = 10.5, 0.05, 2
# Speeds of models this much alike need no word of caution.
_ALIKE = 1.2


@dataclass(frozen=True)
class Estimate:
    """``seconds`` and ``bytes`` of memory, None where nothing is known; ``basis`` says in words what they rest on."""

    seconds: float | None
    bytes: int | None
    basis: str


def estimate(config: EraseConfig, checkpoint: Path, device: str, runs_folder: Path) -> Estimate:
    """Time and memory of a run. Cheap: headers and small files only. Never raises for a checkpoint that is no good."""
    try:
        size = model_size(checkpoint)
    except (EraseError, OSError, ValueError, KeyError, TypeError):
        return Estimate(None, None, "not known: the checkpoint cannot be read")
    seconds, basis = _seconds(config, size, device, runs_folder)
    memory = "memory from a table measured on a full-size SD 1.x, scaled by this U-Net's size"
    taken = memory_bytes(config, size)
    if device == "cpu":  # where embeddings are remembered, wherever the model is
        taken += round(embedding_cache_bytes(remembered_prompts(config), size.text_encoder))
    return Estimate(seconds, taken, f"{basis}; {memory}")


def memory_bytes(config: EraseConfig, size: ModelSize) -> int:
    """Weights of all three parts, and the activations of an update or of decoding a picture, whichever are more.

    Both are scaled from a table by places, width (the square root of the number of weights) and batch.
    """
    half = config.precision != "fp32"
    table = _ACTIVATIONS[config.layers not in ("xattn", "xattn_kv"), half, config.gradient_checkpointing]
    places = (_pixels(config, size) / _FULL_PIXELS) ** 2
    update = table * places * config.batch * math.sqrt(size.unet / FULL_UNET)
    each = 2 if half else 4
    vae = 4 if config.precision == "fp16" else each  # which is kept in fp32 then
    decoding = _DECODING * vae / 4 * places * math.sqrt(size.vae / _FULL_VAE)
    weights = (size.unet + size.text_encoder) * each + size.vae * vae
    return round(_LIBRARIES + weights + max(update, decoding))


def _seconds(config: EraseConfig, size: ModelSize, device: str, runs_folder: Path) -> tuple[float | None, str]:
    training, apart = training_rows(config), rows_apart(config)
    found = _nearest(config, size, device, runs_folder)
    if found is None:
        if device != "cpu":
            return None, "time not known before the first run on this device"
        work = size.unet / FULL_UNET * (_pixels(config, size) / _FULL_PIXELS) ** 2
        half = 0.5 if config.precision != "fp32" else 1.0
        cores = min(os.cpu_count() or _CPU_CORES, 16)
        per_row = _CPU_LEAST + _CPU_SECONDS * work * half * _CPU_CORES / cores
        return per_row * (training + apart), "time very rough, from a table for CPUs"
    speed, past = found
    ratio = _work(config, size) / speed.work
    seconds = ratio * (speed.seconds / speed.rows * training + speed.apart / max(1.0, rows_apart(past)) * apart)
    alike = max(ratio, 1 / ratio) < _ALIKE and speed.precision == config.precision
    return seconds, "time as measured in your last run" if alike else "time scaled from an earlier run of yours"


def _nearest(config: EraseConfig, size: ModelSize, device: str, runs_folder: Path) -> tuple[Speed, EraseConfig] | None:
    """The newest of the earlier runs on this device whose model was most like this one."""
    best, least = None, math.inf
    for speed, values in past_speeds(runs_folder):
        try:
            past = config_from_dict(values)
        except ConfigError:
            continue
        apart = abs(math.log(_work(config, size) / speed.work)) + (speed.precision != config.precision)
        # Small differences do not count against a newer run.
        if speed.device == device and apart < least - math.log(_ALIKE):
            best, least = (speed, past), apart
    return best


def _work(config: EraseConfig, size: ModelSize) -> float:
    return float(size.unet) * _pixels(config, size) ** 2


def _pixels(config: EraseConfig, size: ModelSize) -> int:
    return config.resolution or size.pixels


# --- U-Net rows


def training_rows(config: EraseConfig) -> float:
    """Rows of all updates."""
    return forecast_rows(config)["training"].total


def rows_apart(config: EraseConfig) -> float:
    """Rows besides training: measuring synonyms, pictures before and after, previews and the self-check."""
    rows = forecast_rows(config)
    return rows.all.total - rows["training"].total
