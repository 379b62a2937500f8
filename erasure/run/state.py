"""The training state on disk: tensors and plain JSON in one safetensors file, so that reading it runs no code."""

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
    """Writes to a temporary file and renames it, so that the last state stays until the new one is whole."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with whole_file(path) as temporary:
            save_file(plain, temporary, metadata={"format": FORMAT, "meta": json.dumps(meta)})
    except (OSError, SafetensorError) as error:
        raise RunError(f"the state {path.name} could not be written: {error}; free some space and resume") from error


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Raises: RunError if the file is missing, damaged, or no training state."""
    try:
        header = read_header(path)
        if header.metadata.get("format") != FORMAT:
            raise RunError(f"{path.name} is not a training state that this version can resume")
        return read_tensors(path, header.shapes), json.loads(header.metadata["meta"])
    except (OSError, KeyError, ValueError) as error:
        raise RunError(f"the state {path.name} cannot be read: {error}; start the run anew") from error
