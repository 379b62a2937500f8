"""Finds the layers that a LoRA can change without keeping in memory the libraries that know their names.

In a process that has not loaded them, another one finds the layers and ends before anything else is done; its memory is
then free again. Where they are loaded anyway, as in a program that draws, that would save nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint
from erasure.model.model_layers import ModelLayers

_LIBRARY = "diffusers"
_ROOT = Path(__file__).parents[2]  # what the package lies in
# Not by multiprocessing, which imports the main program again: in a web UI, that is the web UI. Not by PYTHONPATH,
# which comes before the standard library: the package may lie in site-packages.
_PROGRAM = """
import sys
if sys.argv[1] not in sys.path:
    sys.path.insert(0, sys.argv[1])
from erasure.model.layer_search import tell_layers
tell_layers(sys.argv[2])
"""


def find_layers(info: CheckpointInfo) -> ModelLayers:
    """Return the layers of a checkpoint that a LoRA can change, from headers alone.

    Raises: BrokenCheckpoint if a weight of the U-Net is missing or has another shape than the configuration says.
    """
    found = None if _LIBRARY in sys.modules else _found_apart(info)
    return _found_here(info) if found is None else found


def tell_layers(checkpoint: str) -> None:
    """Write the layers of a checkpoint to stdout, as JSON and nothing else. Raises: CheckpointError."""
    with redirect_stdout(sys.stderr):
        told = _found_here(inspect_checkpoint(Path(checkpoint))).to_dict()
    sys.stdout.write(json.dumps(told))


def _found_here(info: CheckpointInfo) -> ModelLayers:
    from erasure.model.empty_unet import layers_of

    return layers_of(info)


def _found_apart(info: CheckpointInfo) -> ModelLayers | None:
    """Return None if the other process finds nothing, whatever the reason: this one then meets it, and can say it."""
    if not sys.executable:  # Python inside of another program
        return None
    command = [sys.executable, "-c", _PROGRAM, str(_ROOT), str(info.path)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
        return ModelLayers.from_dict(json.loads(done.stdout), info)
    except (OSError, subprocess.SubprocessError, LookupError, TypeError, ValueError):
        return None
