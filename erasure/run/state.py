"""The training state on disk: tensors and JSON in one safetensors file. Reading it runs no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from erasure.errors import RunError
from erasure.safetensors_file import read_header, read_tensors
from erasure.whole_file import whole_file

FORMAT = "adversarial-erase-state-1"


def save_state(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a state; the file at ``path`` is replaced only once the new one is whole. Raises: RunError."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with whole_file(path) as temporary:
            save_file(plain, temporary, metadata={"format": FORMAT, "meta": json.dumps(meta)})
    except (OSError, SafetensorError) as error:
        raise RunError(f"the state {path.name} could not be written: {error}; free some space and resume") from error


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and values of a state. Raises: RunError if the file is missing, damaged, or no state."""
    try:
        header = read_header(path)
        if header.metadata.get("format") != FORMAT:
            raise RunError(f"{path.name} is not a training state that this version can resume")
        return read_tensors(path, header.shapes), json.loads(header.metadata["meta"])
    except (OSError, KeyError, ValueError, RecursionError) as error:
        raise RunError(f"the state {path.name} cannot be read: {error}; start a new run") from error
