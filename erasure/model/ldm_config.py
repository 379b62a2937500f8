"""The latent diffusion configuration: the ``.yaml`` beside a single-file checkpoint, or the shipped SD 1 one.

The format is CompVis' ``latent-diffusion``: ``model.params`` with ``unet_config``, ``first_stage_config`` and
``cond_stage_config``, each with ``params``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint

DATA = Path(__file__).parents[1] / "data"
SD1_CONFIG = DATA / "sd1.yaml"
CLIP_FOLDER = DATA / "clip-vit-large-patch14"
_CLIP_NAMES = ("openai/clip-vit-large-patch14", "")  # what the shipped folder stands for
_NUMBERS = ("image_size", "timesteps", "linear_start", "linear_end", "scale_factor")
TOKENIZER_FILES = ("vocab.json", "merges.txt")
_EPSILON = "Choose a Stable Diffusion 1.x checkpoint that predicts the noise (epsilon)."


def config_beside(checkpoint: Path) -> Path:
    """``<stem>.yaml`` beside the checkpoint (where web UIs look for it), else the shipped SD 1 one."""
    beside = checkpoint.with_suffix(".yaml")
    return beside if beside.is_file() else SD1_CONFIG


def read_ldm_config(path: Path) -> dict[str, Any]:
    """The parsed file. Raises BrokenCheckpoint unless ``model.params`` has all three parts."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise BrokenCheckpoint(
            f"{path} cannot be read ({error}). Correct it, or move it away to use the standard one."
        ) from error
    parameters = _part(_part(document, "model"), "params")
    if any(not _part(parameters, part) for part in ("unet_config", "first_stage_config", "cond_stage_config")):
        raise BrokenCheckpoint(
            f"{path} lies beside the checkpoint, but lacks model.params with unet_config, "
            "first_stage_config and cond_stage_config. Move it away to use the standard SD 1 configuration."
        )
    return document


def check_ldm_config(path: Path) -> None:
    """Raise UnsupportedCheckpoint where the configuration is not of an SD 1.x text-to-image model."""
    parameters = read_ldm_config(path)["model"]["params"]
    prediction = parameters.get("parameterization", "eps")
    if prediction != "eps":
        what = {"v": "a v-prediction model", "x0": "a model that predicts the picture (x0)"}
        raise UnsupportedCheckpoint(
            f"{path} says that its checkpoint is {what.get(prediction, 'of another kind')} "
            f"(parameterization {prediction!r}). {_EPSILON}"
        )
    text_class = str(parameters["cond_stage_config"].get("target", ""))
    if "OpenCLIP" in text_class or "OpenClip" in text_class:
        raise UnsupportedCheckpoint(
            f"{path} says that its checkpoint is a Stable Diffusion 2 model (text encoder {text_class}). "
            "Choose a Stable Diffusion 1.x checkpoint."
        )
    _check_numbers(path, parameters)
    linear = parameters.get("beta_schedule", "linear") == "linear"
    if not linear or parameters.get("zero_terminal_snr") or parameters.get("timesteps", 1000) != 1000:
        raise UnsupportedCheckpoint(
            f"{path} describes a noise schedule that is not SD 1's. Choose a Stable Diffusion 1.x checkpoint."
        )
    text_folder(path)


def _check_numbers(path: Path, parameters: dict[str, Any]) -> None:
    for name in _NUMBERS:
        value = parameters.get(name, 1)
        try:
            sound = 0 < float(value) < math.inf
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise BrokenCheckpoint(f"{path}: model.params.{name} is {value!r}, not a positive number. Correct it.")


def sample_size(document: dict[str, Any]) -> int:
    """Side of the latents: ``model.params.image_size``, else the U-Net's (which SD 1's file leaves at 32)."""
    parameters = document["model"]["params"]
    return int(parameters.get("image_size") or _part(parameters["unet_config"], "params").get("image_size") or 64)


def text_folder(path: Path) -> Path:
    """The folder of the text encoder's ``config.json`` and tokenizer.

    ``cond_stage_config.params.version`` names it, absolute or relative to the yaml; without one, or with
    CLIP's own name, it is the shipped folder. Raises BrokenCheckpoint where the named folder or a file in it
    is missing.
    """
    stage = read_ldm_config(path)["model"]["params"]["cond_stage_config"]
    version = str(_part(stage, "params").get("version") or "")
    if version in _CLIP_NAMES:
        return CLIP_FOLDER
    folder = path.parent / version
    missing = [name for name in ("config.json", *TOKENIZER_FILES) if not (folder / name).is_file()]
    if missing:
        raise BrokenCheckpoint(
            f"{path} takes its text encoder's configuration and tokenizer from {folder}, which lacks "
            f"{', '.join(missing)}. Put the folder there, or correct cond_stage_config.params.version."
        )
    return folder


def _part(document: Any, name: str) -> dict[str, Any]:
    """A mapping inside a mapping, empty where there is none."""
    part = document.get(name) if isinstance(document, dict) else None
    return part if isinstance(part, dict) else {}
