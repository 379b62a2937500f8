"""What the files beside a checkpoint's weights say of them: the same weights may be read in more than one way."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from erasure.model.checkpoint import CheckpointInfo, OriginalFile

_NUMBERS = ("timesteps", "linear_start", "linear_end", "scale_factor")


def configuration_hash(checkpoint: CheckpointInfo) -> str:
    """Return a hash (16 hex digits) of how a checkpoint's weights are read: what it predicts, noise levels, sizes."""
    contents = checkpoint.contents
    said: dict[str, Any] = {
        "prediction": checkpoint.prediction_type,  # none, if only the weights tell
        "zero_snr": checkpoint.zero_snr,
    }
    if isinstance(contents, OriginalFile):
        config = contents.config
        said["numbers"] = {name: config.parameters.get(name) for name in _NUMBERS}
        said |= {"side": config.latent_side, "skipped": config.skipped_layers, "unet": config.unet}
    else:
        said["side"] = contents.latent_side
        said |= {part: contents.configs[part] for part in ("scheduler", "unet")}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]
