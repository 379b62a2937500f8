"""Sound files, from which hostile ones are made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.loras import random_lora
from tests.tiny import tiny_checkpoint, tiny_diffusers_folder


@dataclass(frozen=True)
class Samples:
    """``original``: a checkpoint with its yaml and ``tiny-text`` beside it; ``zipped`` and ``stream``: the same as
    ``torch.save`` writes it, now and before; ``folder``: in the diffusers layout."""

    original: Path
    zipped: Path
    stream: Path
    folder: Path
    lora: Path


def make_samples(root: Path) -> Samples:
    """Write all of them below ``root``."""
    original = tiny_checkpoint(root / "original")
    state = {"state_dict": load_file(original), "global_step": 7, "hparams": {"lr": 1e-4, "list": [1, (2, 3)]}}
    zipped, stream = root / "zipped.ckpt", root / "stream.ckpt"
    torch.save(state, zipped)
    torch.save(state, stream, _use_new_zipfile_serialization=False)
    config = {"erase": ["church"], "neighbours": 4}
    lora = random_lora(root / "lora.safetensors", config, {"ss_tag_frequency": json.dumps({"a": {"church": 3}})})
    return Samples(original, zipped, stream, tiny_diffusers_folder(root / "folder"), lora)
