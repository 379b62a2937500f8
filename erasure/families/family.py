"""A family of models: all in which one differs from another, as one description.

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
    """How a model's files are told from those of its relatives; any one of them is enough.

    ``text_names``: beginnings of tensor names that only its text encoders have in the original layout;
    ``context``: widths of the text that its U-Net reads, where they are telling; ``text_classes``: words in the text
    encoder's class in an LDM yaml; ``embeddings``: diffusers' ``addition_embed_type``. Of its LoRA files:
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
    """A model that is known by name, whether it is of a supported family or not."""

    name: str
    marks: Marks


@dataclass(frozen=True)
class PartNames:
    """Beginnings of the tensor names of each part in the original layout.

    ``text``: all text encoders; ``clip``: of these the one that is loaded, as transformers names its weights.
    """

    unet: str
    vae: str
    text: str
    clip: str


@dataclass(frozen=True)
class Schedule:
    """The noise levels that it was trained with: ``steps`` of them, beta "scaled linear" from ``start`` to ``end``."""

    steps: int
    start: float
    end: float


@dataclass(frozen=True)
class LoraNames:
    """What a LoRA file of the family is called in it and beside it.

    ``prefix`` of a module's key; ``version`` and ``v2``: kohya's ``ss_base_model_version`` and ``ss_v2``;
    ``architecture``: ModelSpec's; ``card``: "sd version" in the web UI's note beside the file.
    """

    prefix: str
    version: str
    v2: str
    architecture: str
    card: str


@dataclass(frozen=True)
class Family:
    """One family of latent diffusion models, a text-to-image model each.

    ``name`` and ``short``, with its article, are for people. ``pipelines``: classes of diffusers folders;
    ``latent_channels``, and ``pixels_per_latent`` and ``vae_scale`` where a configuration does not say; ``tokens`` of
    a prompt, padded; ``yaml``: the LDM configuration of a file without one; ``text_folder``: configuration and
    tokenizer of the text encoder that is called one of ``text_models`` (or not at all) elsewhere.
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
        """``an SD 1.x``."""
        return f"{self.article} {self.short}"
