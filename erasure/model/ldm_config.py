"""Reads the LDM configuration: the ``.yaml`` beside a single-file checkpoint, or else the one that ships with us.

The format is that of CompVis' ``latent-diffusion``: ``model.params`` with ``unet_config``, ``first_stage_config`` and
``cond_stage_config``, each with ``params``; or that of Stability AI's ``generative-models``, which has
``network_config``, ``conditioner_config`` (a list of encoders) and ``denoiser_config`` instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint, shown
from erasure.families.family import Family, PredictionType, TextEncoder
from erasure.families.known import choose, relatives_besides
from erasure.model.diffusers_folder import TOKENIZER_FILES
from erasure.model.ldm_yaml import parse_yaml
from erasure.model.part_config import LONGEST_SIDE, check_document, check_part
from erasure.model.prediction import check_zero_snr, has_zero_snr, prediction_named, told_by_file
from erasure.model.weights_file import WeightsFile
from erasure.regular_file import read_bytes

_NUMBERS = ("image_size", "timesteps", "linear_start", "linear_end", "scale_factor")
_PARTS = ("unet_config", "first_stage_config", "cond_stage_config")
_NEW_PARTS = ("network_config", "first_stage_config", "conditioner_config")
_MOST_BYTES = 100_000  # published files have about 2,000
_SCALINGS = {"EpsScaling": "eps", "VScaling": "v"}  # how names of classes end in the newer format, and LDM's words


@dataclass(frozen=True)
class LdmConfig:
    """A configuration that was read: the parsed ``document`` of the file at ``path``, for a model of ``family``.

    ``prediction_type``: of the checkpoint; None until the model is loaded and measured, if no file tells (then
    ``measured``). ``zero_snr``: whether the last of its noise levels has no picture in it.
    """

    path: Path
    document: dict[str, Any]
    family: Family
    prediction_type: PredictionType | None = "epsilon"
    zero_snr: bool = False
    measured: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """``model.params`` of the document."""
        parameters: dict[str, Any] = self.document["model"]["params"]
        return parameters

    @property
    def unet(self) -> dict[str, Any]:
        """The U-Net's ``params``."""
        return _part(self.parameters[_parts_of(self.parameters)[0]], "params")

    @property
    def texts(self) -> list[dict[str, Any]]:
        """What it says of each text encoder: ``target``, the name of a class, and ``params``."""
        if "cond_stage_config" in self.parameters:
            return [self.parameters["cond_stage_config"]]
        listed = _part(self.parameters["conditioner_config"], "params").get("emb_models")
        every = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return [each for each in every if "CLIP" in str(each.get("target", ""))]

    @property
    def latent_side(self) -> int:
        """Height and width of the latents: ``model.params.image_size``, or else the U-Net's (wrong in SD 1's file).

        The newer format has no place for it: its programs refuse ``params`` that they do not know, but not what is
        beside them, ``model.image_size``.
        Published files have one ``image_size`` for models of two sizes: what predicts v, or may, is of the larger.
        """
        family = self.family
        usual = family.full.pixels // family.pixels_per_latent
        beside = self.document["model"].get("image_size")
        side = int(self.parameters.get("image_size") or self.unet.get("image_size") or beside or usual)
        larger = family.v_pixels and side == usual and self.prediction_type != "epsilon"
        return family.v_pixels // family.pixels_per_latent if larger else side

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
        return int(self.family.text_encoders[0].final_norm and _text_layer(self) == "penultimate")

    def settled(self, prediction: PredictionType) -> LdmConfig:
        """Return the configuration of a checkpoint that was loaded and measured."""
        return replace(self, prediction_type=prediction, measured=True)

    def text_files(self) -> list[tuple[Path, Path]]:
        """Return each text encoder's ``config.json`` and the folder of its tokenizer; look for them at every call.

        ``params.version`` of a text encoder is the path of both, absolute or relative to the yaml. If that is missing,
        or the name of the family's own text encoder, they are the folders that ship with us. Raises: BrokenCheckpoint
        if a folder or a file in it is missing.
        """
        return [self._text_files(own, told) for own, told in zip(self.family.text_encoders, self.texts, strict=True)]

    def _text_files(self, own: TextEncoder, told: dict[str, Any]) -> tuple[Path, Path]:
        version = str(_part(told, "params").get("version") or "")
        if version in ("", *own.models):
            return own.config, own.tokenizer_folder
        folder = self.path.parent / version
        missing = [name for name in ("config.json", *TOKENIZER_FILES) if not (folder / name).exists()]
        if missing:
            place = "cond_stage_config" if "cond_stage_config" in self.parameters else "conditioner_config"
            raise BrokenCheckpoint(
                f"{self.path} takes its text encoder's configuration and tokenizer from {folder}, which lacks "
                f"{', '.join(missing)}. Put the folder there, or correct version in {place}."
            )
        return folder / "config.json", folder


def yaml_beside(checkpoint: Path) -> Path:
    """Return the path of ``<stem>.yaml`` beside the checkpoint, where web UIs look for it."""
    return checkpoint.with_suffix(".yaml")


def read_ldm_config(weights: WeightsFile, family: Family, families: Sequence[Family]) -> LdmConfig:
    """Read the file beside the checkpoint, or the family's own if there is none.

    What the checkpoint predicts is looked for where web UIs do: the yaml beside it, then the file itself.

    Raises: BrokenCheckpoint if it is not a sound configuration; UnsupportedCheckpoint if it describes another model.
    """
    beside = yaml_beside(weights.path)
    path = beside if beside.exists() else family.yaml
    try:
        document = parse_yaml(read_bytes(path, _MOST_BYTES))
        check_document(document)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise BrokenCheckpoint(
            f"{path} cannot be read ({error}). Correct it, or move it away to use the standard one."
        ) from error
    parameters = _part(_part(document, "model"), "params")
    parts = _parts_of(parameters)
    if any(not _part(parameters, part) for part in parts):
        raise BrokenCheckpoint(
            f"{path} lies beside the checkpoint, but lacks model.params with {parts[0]}, {parts[1]} and {parts[2]}. "
            f"Move it away to use the standard {family.short} configuration."
        )
    try:
        for part in parts:
            check_part(parameters[part])
    except ValueError as error:
        raise BrokenCheckpoint(
            f"{path}: {error}. Correct it, or move it away to use the standard configuration."
        ) from error
    zero_snr = has_zero_snr(weights) or bool(parameters.get("zero_terminal_snr"))
    # A file of ours is for all checkpoints of the family, and says nothing of this one.
    told = parameters if path == beside else {}
    prediction = _prediction(told, weights, zero_snr, path) or ("epsilon" if path == beside else family.prediction_type)
    check_zero_snr(prediction, zero_snr, str(weights.path))
    config = LdmConfig(path, document, family, prediction, zero_snr)
    _check_texts(config, families)
    _check_text_class(config, families)
    _check_text_layer(config)
    _check_numbers(config)
    _check_schedule(config, families)
    config.text_files()
    return config


def _parts_of(parameters: dict[str, Any]) -> tuple[str, str, str]:
    """Return the names of the parts in the format that a configuration has."""
    return _NEW_PARTS if "network_config" in parameters else _PARTS


def _check_texts(config: LdmConfig, families: Sequence[Family]) -> None:
    found, wanted = len(config.texts), len(config.family.text_encoders)
    if found != wanted:
        raise UnsupportedCheckpoint(
            f"{config.path} describes a model with {found} text encoders, where {config.family.short} has {wanted}. "
            f"Move it away to use the standard configuration. {choose(families)}"
        )


def _prediction(parameters: dict[str, Any], weights: WeightsFile, zero_snr: bool, path: Path) -> PredictionType | None:
    """Return what the yaml or the checkpoint says that it predicts; None if neither does."""
    denoiser = _part(_part(parameters, "denoiser_config"), "params")
    scaling = str(_part(denoiser, "scaling_config").get("target", "")).rpartition(".")[2]
    said = parameters.get("parameterization", _SCALINGS.get(scaling, scaling) or None)
    if said is not None:
        return prediction_named(said, str(path))
    # Where nothing but noise is left, only v tells anything of the picture.
    return told_by_file(weights) or ("v_prediction" if zero_snr else None)


def _check_text_class(config: LdmConfig, families: Sequence[Family]) -> None:
    text_class = str(config.texts[0].get("target", ""))
    for other in relatives_besides([config.family], families):
        if any(word in text_class for word in other.marks.text_classes):
            raise UnsupportedCheckpoint(
                f"{config.path} says that its checkpoint is a {other.name} model (text encoder {text_class}), which "
                f"its weights are not. {choose(families)}"
            )


def _text_layer(config: LdmConfig) -> str:
    return str(_part(config.texts[0], "params").get("layer") or "last")


def _check_text_layer(config: LdmConfig) -> None:
    if not config.family.text_encoders[0].final_norm:
        return  # the family says which layers are read: all its files have the same
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
            f"{config.path}: image_size of {_parts_of(config.parameters)[0]} and ch_mult of first_stage_config do not "
            "give a picture size. Correct them."
        )


def _check_schedule(config: LdmConfig, families: Sequence[Family]) -> None:
    parameters, steps = config.parameters, config.family.schedule.steps
    linear = parameters.get("beta_schedule", "linear") == "linear"
    if not linear or parameters.get("timesteps", steps) != steps:
        raise UnsupportedCheckpoint(
            f"{config.path} describes another noise schedule than {config.family.short}'s. {choose(families)}"
        )


def _part(document: object, name: str) -> dict[str, Any]:
    """Return a mapping inside a mapping; an empty one if it is missing."""
    part = document.get(name) if isinstance(document, dict) else None
    return part if isinstance(part, dict) else {}
