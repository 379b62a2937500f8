"""A family of models: everything in which one kind of model differs from another, as one description.

Sources: kohya's sd-scripts, Stability AI's ModelSpec 1.0.0, AUTOMATIC1111's "user metadata".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from erasure.families.full_size import FullSize

PredictionType = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True)
class Marks:
    """What distinguishes a model's files from those of its relatives; any one of the marks is enough.

    ``text_names``: prefixes of tensor names that only its text encoders have in the original layout;
    ``context``: widths of the text states that its U-Net reads, if no relative has them; ``text_classes``: words in
    the text encoder's class in an LDM yaml; ``embeddings``: diffusers' ``addition_embed_type``; ``unet_settings``:
    pairs of diffusers' settings of the U-Net and their values, which tell a folder if no width does. For its LoRA
    files: ``lora_names``, a pattern of tensor names, and ``lora_metadata``, pairs of a key and the beginning of its
    value.
    """

    text_names: tuple[str, ...] = ()
    context: tuple[int, ...] = ()
    text_classes: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    unet_settings: tuple[tuple[str, object], ...] = ()
    lora_names: str = ""
    lora_metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Relative:
    """A kind of model that is known by name, whether its family is supported or not."""

    name: str
    marks: Marks


@dataclass(frozen=True)
class PartNames:
    """Prefixes of the tensor names of each part in the original layout.

    ``text``: all text encoders; ``clip``: the one that is loaded, up to where transformers' names begin.
    """

    unet: str
    vae: str
    text: str
    clip: str


@dataclass(frozen=True)
class Schedule:
    """The noise levels of training: ``steps`` of them, with beta "scaled linear" from ``start`` to ``end``."""

    steps: int
    start: float
    end: float


@dataclass(frozen=True)
class LoraNames:
    """What LoRA files of the family say, inside and beside them.

    ``prefix``: of every module key; ``version`` and ``v2``: kohya's ``ss_base_model_version`` and ``ss_v2``;
    ``architecture``: ModelSpec's; ``architecture_v``: that of models that predict v, "" if it is the same; ``card``:
    "sd version" in the web UI's note beside the file.
    """

    prefix: str
    version: str
    v2: str
    architecture: str
    card: str
    architecture_v: str = ""

    @property
    def versions(self) -> tuple[str, str]:
        """Every ``ss_base_model_version`` of the family."""
        return self.version_of("epsilon"), self.version_of("v_prediction")

    def version_of(self, prediction: PredictionType | None) -> str:
        """Return ``ss_base_model_version`` as kohya's sd-scripts write it, for a base that predicts this."""
        return self.version + ("_v" if prediction == "v_prediction" else "")

    def architecture_of(self, prediction: PredictionType | None) -> str:
        """Return ModelSpec's architecture, for a base that predicts this."""
        return self.architecture_v or self.architecture if prediction == "v_prediction" else self.architecture


@dataclass(frozen=True)
class Family:
    """One family of latent diffusion models for text to image.

    ``name`` and ``short`` (with its ``article``) are shown to people. ``pipelines``: pipeline classes of its diffusers
    folders. ``pixels_per_latent`` and ``vae_scale`` are used if a configuration does not give them. ``tokens``: length
    of a padded prompt. ``yaml``: LDM configuration for files that come without one. ``text_folder``: configuration and
    tokenizer of its text encoder, used if an LDM configuration names none, or one of ``text_models``.

    ``prediction_type``: of checkpoints that do not say what they predict; None if only the model itself can tell.
    ``v_pixels``: side of the pictures of checkpoints that predict v, if it is another than that of ``full``.
    ``open_clip``: whether the text encoder has OpenCLIP's names in the original layout. ``skipped_layers``: how many of
    its last layers are not run. ``text_config``: its configuration, if ``text_folder`` has that of another one;
    ``pad_token``: what prompts are padded with, if the tokenizer of ``text_folder`` pads otherwise.
    """

    name: str
    short: str
    article: str
    marks: Marks
    pipelines: tuple[str, ...]
    parts: PartNames
    prediction_type: PredictionType | None
    latent_channels: int
    pixels_per_latent: int
    vae_scale: float
    schedule: Schedule
    tokens: int
    yaml: Path
    text_folder: Path
    text_models: tuple[str, ...]
    lora: LoraNames
    full: FullSize
    v_pixels: int = 0
    open_clip: bool = False
    skipped_layers: int = 0
    text_config: Path | None = None
    pad_token: str = ""

    def __str__(self) -> str:
        """Return the short name with its article, ``an SD 1.x``."""
        return f"{self.article} {self.short}"
