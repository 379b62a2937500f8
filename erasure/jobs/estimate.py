"""How long a run will take and how much memory, estimated from file headers and earlier runs. No model is loaded."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from erasure.config.concept_texts import as_written
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, EraseError
from erasure.families.full_size import GIB, FullSize
from erasure.jobs.speed import Speed, past_speeds
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.memory import embedding_cache_bytes
from erasure.model.size import ModelSize
from erasure.run.forecast import forecast_rows, remembered_prompts, soonest_end
from erasure.training.gradient_rows import gradient_rows, trained_rows
from erasure.training.text_start_sizes import text_steps

_LIBRARIES = 0.4 * GIB
# The least that a U-Net row takes on a CPU (measured on emoji-SD), in seconds, and the cores that the tables are for.
_CPU_LEAST, _CPU_CORES = 0.05, 2
# A speed is taken as it is from a run whose work differs by no more than this factor.
_ALIKE = 1.2


@dataclass(frozen=True)
class Estimate:
    """``seconds`` and ``bytes`` of memory, None if not known; ``basis`` says what they are estimated from.

    ``soonest``: seconds if the very first looks find all gone; None if nothing looks. Then ``seconds`` are the most.
    """

    seconds: float | None
    bytes: int | None
    basis: str
    soonest: float | None = None


def estimate(config: EraseConfig, checkpoint: Path, device: str, runs_folder: Path) -> Estimate:
    """Estimate time and memory of a run. Fast: it reads headers and small files only. A bad checkpoint is no error."""
    try:
        info = inspect_checkpoint(checkpoint)
    except EraseError:
        return Estimate(None, None, "not known: the checkpoint cannot be read")
    size, full = info.size, info.family.full
    pace, basis = _pace(config, size, full, device, runs_folder)
    seconds = pace.seconds(config) if pace is not None else None
    soonest = pace.seconds(config, soonest_end(config)) if pace is not None and config.look_every else None
    measured = full.measured_on or info.family.short
    memory = f"memory from a table measured on a full-size {measured}, scaled by this U-Net's size"
    taken = memory_bytes(config, size, full)
    if device == "cpu":  # embeddings are remembered on the CPU, so on other devices they take nothing
        taken += round(embedding_cache_bytes(remembered_prompts(config), full, size.text_encoder))
    return Estimate(seconds, taken, f"{basis}; {memory}", soonest)


def memory_bytes(config: EraseConfig, size: ModelSize, full: FullSize) -> int:
    """Return the memory for the weights of all three parts, and for an update or decoding a picture if that is more.

    The last two are scaled from the family's table, of an update of two rows, by places, width (the square root of the
    number of weights) and rows in a call.
    """
    half = config.precision != "fp32"
    measured = full.cross_attention if config.layers in ("xattn", "xattn_kv", "xattn_v") else full.all_layers
    table = measured.of(half=half, checkpointing=config.gradient_checkpointing)
    places = (_pixels(config, size) / full.pixels) ** 2
    at_once, trained = gradient_rows(full.rows_at_once(places, size.unet), config.batch), trained_rows(config)
    update = table * places * max(2 * config.batch, min(at_once, trained)) / 2 * math.sqrt(size.unet / full.unet)
    each = 2 if half else 4
    vae = 4 if config.precision == "fp16" else each  # with fp16, the VAE stays in fp32
    decoding = full.decoding * vae / 4 * places * math.sqrt(size.vae / full.vae)
    weights = (size.unet + size.text_encoder) * each + size.vae * vae
    return round(_LIBRARIES + weights + max(update, decoding))


@dataclass(frozen=True)
class _Pace:
    """Seconds for a row of training, and for one of all the rest."""

    training: float
    apart: float

    def seconds(self, config: EraseConfig, updates: int | None = None) -> float:
        """Return the seconds of a run that makes so many updates; None: as many as it may."""
        return self.training * training_rows(config, updates) + self.apart * rows_apart(config, updates)


def _pace(
    config: EraseConfig, size: ModelSize, full: FullSize, device: str, runs_folder: Path
) -> tuple[_Pace | None, str]:
    found = _nearest(config, size, device, runs_folder)
    if found is None:
        if device != "cpu":
            return None, "time not known until the first run on this device"
        work = size.unet / full.unet * (_pixels(config, size) / full.pixels) ** 2
        half = 0.5 if config.precision != "fp32" else 1.0
        cores = min(os.cpu_count() or _CPU_CORES, 16)
        per_row = _CPU_LEAST + full.cpu_seconds * work * half * _CPU_CORES / cores
        return _Pace(per_row, per_row), "a very rough time, from a table for CPUs"
    speed, past = found
    ratio = _work(config, size) / speed.work
    # What it did besides its updates depends on how many it made, as it ended when all was gone.
    made = round(speed.rows / max(1.0, training_rows(past, 1)))
    apart = rows_apart(past, made if made < past.updates else None)
    pace = _Pace(ratio * speed.seconds / speed.rows, ratio * speed.apart / max(1.0, apart))
    alike = max(ratio, 1 / ratio) < _ALIKE and speed.precision == config.precision
    return pace, "time as measured in your last run" if alike else "time scaled from an earlier run of yours"


def _nearest(config: EraseConfig, size: ModelSize, device: str, runs_folder: Path) -> tuple[Speed, EraseConfig] | None:
    """Return the earlier run on this device whose work was most like this one; of several, the newest."""
    best, least = None, math.inf
    for speed, values in past_speeds(runs_folder):
        try:
            past = config_from_dict(as_written(values))
        except ConfigError:
            continue
        apart = abs(math.log(_work(config, size) / speed.work)) + (speed.precision != config.precision)
        # An older run must be clearly more alike to be chosen.
        if speed.device == device and apart < least - math.log(_ALIKE):
            best, least = (speed, past), apart
    return best


def _work(config: EraseConfig, size: ModelSize) -> float:
    return float(size.unet) * _pixels(config, size) ** 2


def _pixels(config: EraseConfig, size: ModelSize) -> int:
    return config.resolution or size.pixels


# --- U-Net rows


def training_rows(config: EraseConfig, updates: int | None = None) -> float:
    """Return the rows of so many updates; None: of all that a run may make."""
    return forecast_rows(config, updates=updates)["training"].total


def rows_apart(config: EraseConfig, updates: int | None = None) -> float:
    """Return the rows besides training: synonyms, looks, the verdict, pictures, previews, the self-check.

    ``updates``: how many the run makes; None: as many as it may. Steps on the text encoders count as rows.
    """
    rows = forecast_rows(config, updates=updates)
    return rows.all.total - rows["training"].total + text_steps(config)
