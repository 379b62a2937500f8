"""What a checkpoint is, read from its headers alone: SD 1.x or not, and in which layout; its hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.model.diffusers_folder import check_folder, weight_files
from erasure.model.kinds import UNET, foreign_kind
from erasure.model.ldm_config import check_ldm_config, config_beside
from erasure.model.weights_file import FLOATS, WeightsFile, open_weights

EMA = "model_ema."


@dataclass(frozen=True)
class CheckpointInfo:
    """An SD 1.x text-to-image checkpoint that can be loaded.

    ``path`` is the file, or the folder of the diffusers layout; ``name`` its stem. ``config`` is the LDM yaml
    in use (``<stem>.yaml`` beside the file, else the shipped SD 1 one), or ``model_index.json`` for the
    diffusers layout. ``has_ema``: averaged U-Net weights are there in full, and are the ones that get loaded.
    """

    path: Path
    name: str
    layout: Literal["original", "diffusers"]
    config: Path
    prediction_type: Literal["epsilon"]
    has_ema: bool


def inspect_checkpoint(path: Path) -> CheckpointInfo:
    """Read the headers of a ``.safetensors`` or ``.ckpt`` file, or the configurations of a diffusers folder.

    Raises BrokenCheckpoint for what is damaged, missing or no model at all, and UnsupportedCheckpoint for
    other models; the message names what it is and what to do.
    """
    path = Path(path)
    try:
        if path.is_dir():
            check_folder(path)
            ema = (path / "unet_ema" / "config.json").is_file()
            name = path.resolve().name
            return CheckpointInfo(path, name, "diffusers", path / "model_index.json", "epsilon", ema)
        weights = open_weights(path)
    except OSError as error:
        raise BrokenCheckpoint(f"{path} cannot be read ({error}). Check the path and its permissions.") from error
    kind = foreign_kind(weights)
    if kind is not None:
        what, advice = kind
        raise UnsupportedCheckpoint(f"{path} is {what}, not an SD 1.x text-to-image checkpoint. {advice}")
    packed = next((name for name in unet_names(weights) if weights.dtypes[name] not in FLOATS), None)
    if packed is not None:
        raise UnsupportedCheckpoint(
            f"{path} is a quantised model ({packed} is {weights.dtypes[packed]}). "
            "Choose the fp16 or fp32 version of it."
        )
    config = config_beside(path)
    check_ldm_config(config)
    return CheckpointInfo(path, path.stem, "original", config, "epsilon", ema_names(weights) is not None)


def unet_names(weights: WeightsFile) -> list[str]:
    """Names of the U-Net's tensors in an original-layout file."""
    return [name for name in weights.shapes if name.startswith(UNET)]


def ema_names(weights: WeightsFile) -> dict[str, str] | None:
    """The averaged twin of each of the U-Net's tensors, by the plain name; None unless all are there.

    CompVis' ``LitEma`` stores ``model.a.b`` as ``model_ema.ab``.
    """
    pairs = {name: EMA + name.removeprefix("model.").replace(".", "") for name in unet_names(weights)}
    complete = all(weights.shapes.get(twin) == weights.shapes[name] for name, twin in pairs.items())
    return pairs if pairs and complete else None


def sha256(path: Path) -> str:
    """sha256 of the file, 64 hex digits; of a diffusers folder: of its U-Net's weights, piece after piece."""
    return _sha256(tuple(_stamp(file) for file in _hashed_files(path)))


def short_hash(path: Path) -> str:
    """The old web UI hash: first 8 hex digits of sha256 over 64 KiB at 0x100000; see :func:`sha256`."""
    with _hashed_files(path)[0].open("rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


def _hashed_files(path: Path) -> list[Path]:
    path = Path(path)
    return weight_files(path, "unet") if path.is_dir() else [path]


def _stamp(file: Path) -> tuple[Path, int, int]:
    state = file.stat()
    return file.resolve(), state.st_size, state.st_mtime_ns


@lru_cache(maxsize=64)
def _sha256(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    """Size and time are part of the key, so that a file that changed is read again."""
    digest = hashlib.sha256()
    for path, _, _ in stamps:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
