"""What the files beside a checkpoint's weights say of them: the same weights can be read in more than one way."""

from __future__ import annotations

import json
from typing import Any

from erasure import bounded_json
from erasure.model.checkpoint import CheckpointInfo, OriginalFile

_HEADS = ("num_heads", "num_head_channels", "attention_head_dim", "num_attention_heads")


def configuration_of(checkpoint: CheckpointInfo) -> str:
    """Return how a checkpoint's weights are read, as JSON: only what decides, with what is usual filled in."""
    contents, schedule = checkpoint.contents, checkpoint.family.schedule
    usual = {"steps": schedule.steps, "start": schedule.start, "end": schedule.end}
    if isinstance(contents, OriginalFile):
        config, told = contents.config, contents.config.parameters
        names = {"steps": "timesteps", "start": "linear_start", "end": "linear_end"}
        side, unet, skipped = config.latent_side, config.unet, config.skipped_layers
    else:
        told = contents.configs["scheduler"]
        names = {"steps": "num_train_timesteps", "start": "beta_start", "end": "beta_end"}
        side, unet, skipped = contents.latent_side, contents.configs["unet"], 0
    said: dict[str, Any] = {
        "prediction": checkpoint.prediction_type,  # none, if only the weights tell
        "zero terminal SNR": checkpoint.zero_snr,
        "side of latents": side,
        "skipped layers of the text encoder": skipped,
        "attention heads": {name: unet[name] for name in _HEADS if name in unet},
        "noise levels": {what: float(told.get(name, usual[what])) for what, name in names.items()},
    }
    return json.dumps(said, sort_keys=True, default=str)


def differences(then: str, now: CheckpointInfo) -> list[str]:
    """Return what is read in another way than :func:`configuration_of` said; what nothing tells counts as the same."""
    try:
        before = bounded_json.parse(then)
    except ValueError:
        return []
    if not isinstance(before, dict):
        return []
    after = json.loads(configuration_of(now))
    return [name for name, value in after.items() if None not in (value, before.get(name)) and value != before[name]]
