"""Reads the LDM configuration: the ``.yaml`` beside a single-file checkpoint, or else the one that ships with us.

The format is that of CompVis' ``latent-diffusion``: ``model.params`` with ``unet_config``, ``first_stage_config`` and
``cond_stage_config``, each with ``params``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint, shown
from erasure.families.family import Family
from erasure.families.known import choose, relatives_besides
from erasure.model.diffusers_folder import TOKENIZER_FILES
from erasure.model.kinds import predicting
from erasure.model.ldm_yaml import parse_yaml
from erasure.model.part_config import LONGEST_SIDE, check_document, check_part
from erasure.regular_file import read_bytes

_NUMBERS = ("image_size", "timesteps", "linear_start", "linear_end", "scale_factor")
_PARTS = ("unet_config", "first_stage_config", "cond_stage_config")
_MOST_BYTES = 100_000  # published files have about 2,000
_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}  # LDM's words and diffusers'


@dataclass(frozen=True)
class LdmConfig:
    """A configuration that was read: the parsed ``document`` of the file at ``path``, for a model of ``family``."""

    path: Path
    document: dict[str, Any]
    family: Family

    @property
    def parameters(self) -> dict[str, Any]:
        """``model.params`` of the document."""
        parameters: dict[str, Any] = self.document["model"]["params"]
        return parameters

    @property
    def latent_side(self) -> int:
        """Height and width of the latents: ``model.params.image_size``, or else the U-Net's (wrong in SD 1's file)."""
        unet, full = _part(self.parameters["unet_config"], "params"), self.family.full
        side = self.parameters.get("image_size") or unet.get("image_size")
        return int(side or full.pixels // self.family.pixels_per_latent)

    @property
    def pixels_per_latent(self) -> int:
        """Pixels per latent along one side, from the number of levels of the VAE."""
        decoder = _part(_part(self.parameters["first_stage_config"], "params"), "ddconfig")
        levels = decoder.get("ch_mult")
        return self.family.pixels_per_latent if levels is None else int(2 ** (len(levels) - 1))

    @property
    def uses_ema(self) -> bool:
        """Whether AUTOMATIC1111 would draw with averaged weights: ``model.params.use_ema`` (missing: no)."""
        return str(self.parameters.get("use_ema", False)).lower() == "true"

    @property
    def skipped_layers(self) -> int:
        """How many of the text encoder's last layers are left out: 1 for ``layer: penultimate``, else 0."""
        return int(_text_layer(self) == "penultimate")

    def text_folder(self) -> Path:
        """Return the folder with the text encoder's ``config.json`` and tokenizer; look for it at every call.

        ``cond_stage_config.params.version`` is its path, absolute or relative to the yaml. If that is missing, or the
        name of the family's own text encoder, it is the folder that ships with us. Raises: BrokenCheckpoint if the
        folder or a file in it is missing.
        """
        version = str(_part(self.parameters["cond_stage_config"], "params").get("version") or "")
        if version in ("", *self.family.text_models):
            return self.family.text_folder
        folder = self.path.parent / version
        missing = [name for name in ("config.json", *TOKENIZER_FILES) if not (folder / name).exists()]
        if missing:
            raise BrokenCheckpoint(
                f"{self.path} takes its text encoder's configuration and tokenizer from {folder}, which lacks "
                f"{', '.join(missing)}. Put the folder there, or correct cond_stage_config.params.version."
            )
        return folder


def yaml_beside(checkpoint: Path) -> Path:
    """Return the path of ``<stem>.yaml`` beside the checkpoint, where web UIs look for it."""
    return checkpoint.with_suffix(".yaml")


def read_ldm_config(checkpoint: Path, family: Family, families: Sequence[Family]) -> LdmConfig:
    """Read the file beside the checkpoint, or the family's own if there is none.

    Raises: BrokenCheckpoint if it is not a sound configuration; UnsupportedCheckpoint if it describes another model.
    """
    beside = yaml_beside(checkpoint)
    path = beside if beside.exists() else family.yaml
    try:
        document = parse_yaml(read_bytes(path, _MOST_BYTES))
        check_document(document)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise BrokenCheckpoint(
            f"{path} cannot be read ({error}). Correct it, or move it away to use the standard one."
        ) from error
    parameters = _part(_part(document, "model"), "params")
    if any(not _part(parameters, part) for part in _PARTS):
        raise BrokenCheckpoint(
            f"{path} lies beside the checkpoint, but lacks model.params with unet_config, "
            f"first_stage_config and cond_stage_config. Move it away to use the standard {family.short} configuration."
        )
    try:
        for part in _PARTS:
            check_part(parameters[part])
    except ValueError as error:
        raise BrokenCheckpoint(
            f"{path}: {error}. Correct it, or move it away to use the standard configuration."
        ) from error
    config = LdmConfig(path, document, family)
    _check_prediction(config)
    _check_text_class(config, families)
    _check_text_layer(config)
    _check_numbers(config)
    _check_schedule(config, families)
    config.text_folder()
    return config


def _check_prediction(config: LdmConfig) -> None:
    prediction = config.parameters.get("parameterization", "eps")
    if _PREDICTIONS.get(str(prediction)) != config.family.prediction_type:
        what = {
            "eps": "a model that predicts the noise",
            "v": "a v-prediction model",
            "x0": "a model that predicts the picture (x0)",
        }
        raise UnsupportedCheckpoint(
            f"{config.path} says that its checkpoint is {what.get(str(prediction), 'of another kind')} "
            f"(parameterization {shown(prediction)}). {predicting(config.family)}"
        )


def _check_text_class(config: LdmConfig, families: Sequence[Family]) -> None:
    text_class = str(config.parameters["cond_stage_config"].get("target", ""))
    for other in relatives_besides([config.family], families):
        if any(word in text_class for word in other.marks.text_classes):
            raise UnsupportedCheckpoint(
                f"{config.path} says that its checkpoint is a {other.name} model (text encoder {text_class}), which "
                f"its weights are not. {choose(families)}"
            )


def _text_layer(config: LdmConfig) -> str:
    return str(_part(config.parameters["cond_stage_config"], "params").get("layer") or "last")


def _check_text_layer(config: LdmConfig) -> None:
    layer = _text_layer(config)
    if layer not in ("last", "penultimate"):
        raise UnsupportedCheckpoint(
            f"{config.path} has the text encoder give its layer {layer!r} (cond_stage_config.params.layer), where only "
            "last and penultimate can be used. Web UIs read the last one, unless Clip skip is set: write that, or move "
            "the file away if nothing else in it is needed."
        )


def _check_numbers(config: LdmConfig) -> None:
    """Check the numbers with which a model is built, before anything is computed from them."""
    for name in _NUMBERS:
        value = config.parameters.get(name, 1)
        try:
            sound = 0 < float(value) < math.inf
        except (TypeError, ValueError, OverflowError):
            sound = False
        if not sound:
            raise BrokenCheckpoint(
                f"{config.path}: model.params.{name} is {shown(value)}, not a positive number. Correct it."
            )
    try:
        sound = config.latent_side > 0 and config.latent_side * config.pixels_per_latent <= LONGEST_SIDE
    except (TypeError, ValueError, OverflowError):
        sound = False
    if not sound:
        raise BrokenCheckpoint(
            f"{config.path}: image_size of unet_config and ch_mult of first_stage_config do not give a picture size. "
            "Correct them."
        )


def _check_schedule(config: LdmConfig, families: Sequence[Family]) -> None:
    parameters, steps = config.parameters, config.family.schedule.steps
    linear = parameters.get("beta_schedule", "linear") == "linear"
    if not linear or parameters.get("zero_terminal_snr") or parameters.get("timesteps", steps) != steps:
        raise UnsupportedCheckpoint(
            f"{config.path} describes another noise schedule than {config.family.short}'s. {choose(families)}"
        )


def _part(document: object, name: str) -> dict[str, Any]:
    """Return a mapping inside a mapping; an empty one if it is missing."""
    part = document.get(name) if isinstance(document, dict) else None
    return part if isinstance(part, dict) else {}
