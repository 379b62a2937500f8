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
    the text encoder's class in an LDM yaml; ``embeddings``: diffusers' ``addition_embed_type``. For its LoRA files:
    ``lora_names``, a pattern of tensor names, and ``lora_metadata``, pairs of a key and the beginning of its value.
    """

    text_names: tuple[str, ...] = ()
    context: tuple[int, ...] = ()
    text_classes: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
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
    ``architecture``: ModelSpec's; ``card``: "sd version" in the web UI's note beside the file.
    """

    prefix: str
    version: str
    v2: str
    architecture: str
    card: str


@dataclass(frozen=True)
class Family:
    """One family of latent diffusion models for text to image.

    ``name`` and ``short`` (with its ``article``) are shown to people. ``pipelines``: pipeline classes of its diffusers
    folders. ``pixels_per_latent`` and ``vae_scale`` are used if a configuration does not give them. ``tokens``: length
    of a padded prompt. ``yaml``: LDM configuration for files that come without one. ``text_folder``: configuration and
    tokenizer of its text encoder, used if an LDM configuration names none, or one of ``text_models``.
    """

    name: str
    short: str
    article: str
    marks: Marks
    pipelines: tuple[str, ...]
    parts: PartNames
    prediction_type: PredictionType
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

    def __str__(self) -> str:
        """Return the short name with its article, ``an SD 1.x``."""
        return f"{self.article} {self.short}"
