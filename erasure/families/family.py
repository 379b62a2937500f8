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
    """Prefixes of the tensor names of each part in the original layout; ``text``: of all text encoders."""

    unet: str
    vae: str
    text: str


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder: where it is, and what is read of it.

    ``prefix``: of its tensor names in the original layout; they go on with transformers' or OpenCLIP's (``layout``).
    ``part`` and ``tokenizer``: its sub-folders in the diffusers layout. ``config`` (a file) and ``tokenizer_folder``
    are used if an LDM configuration names no others, or one of ``models``; ``padding``: the token that pads prompts
    then, "" for the tokenizer's own.

    Cross-attention reads the states before its last ``skipped`` layers: after the final layer norm, or without
    ``final_norm`` as they are. ``pooled``: whether the U-Net is also told the prompt's embedding, which is the
    end token's state after all layers and the final norm, projected.

    ``lora``: how the names of its layers begin in LoRA files, as kohya's sd-scripts write them; they go on with
    transformers' names, whatever the checkpoint's are.
    """

    prefix: str
    config: Path
    tokenizer_folder: Path
    models: tuple[str, ...]
    layout: Literal["transformers", "openclip"] = "transformers"
    part: str = "text_encoder"
    tokenizer: str = "tokenizer"
    padding: str = ""
    skipped: int = 0
    final_norm: bool = True
    pooled: bool = False
    lora: str = "lora_te_text_model_"


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
    ``architecture``: ModelSpec's; ``card``: "sd version" in the web UI's note beside the file. ``architecture_v``:
    ModelSpec's of models that predict v, "" if it is the same; ``version_v``: what kohya's version then ends in.
    ``layers``: whether module keys go on with diffusers' names of the layers or with the original ones. ``civitai``:
    what Civitai calls the base of all of them, "" if that depends on the base. ``flags``: those that sd-scripts'
    ``gen_img.py`` needs for them; for what predicts v there is one more.
    """

    prefix: str
    version: str
    v2: str
    architecture: str
    card: str
    architecture_v: str = ""
    version_v: str = "_v"
    layers: Literal["diffusers", "original"] = "diffusers"
    civitai: str = ""
    flags: tuple[str, ...] = ()

    @property
    def versions(self) -> tuple[str, str]:
        """Every ``ss_base_model_version`` of the family."""
        return self.version_of("epsilon"), self.version_of("v_prediction")

    def version_of(self, prediction: PredictionType | None) -> str:
        """Return ``ss_base_model_version`` as kohya's sd-scripts write it, for a base that predicts this."""
        return self.version + (self.version_v if prediction == "v_prediction" else "")

    def architecture_of(self, prediction: PredictionType | None) -> str:
        """Return ModelSpec's architecture, for a base that predicts this."""
        return self.architecture_v or self.architecture if prediction == "v_prediction" else self.architecture

    def flags_of(self, prediction: PredictionType | None) -> tuple[str, ...]:
        """Return the flags of sd-scripts' ``gen_img.py``, for a base that predicts this."""
        return (*self.flags, "v_parameterization") if prediction == "v_prediction" else self.flags


@dataclass(frozen=True)
class Family:
    """One family of latent diffusion models for text to image.

    ``name`` and ``short`` (with its ``article``) are shown to people. ``pipelines``: pipeline classes of its diffusers
    folders. ``pixels_per_latent`` and ``vae_scale`` are used if a configuration does not give them. ``tokens``: length
    of a padded prompt. ``yaml``: LDM configuration for files that come without one. ``text_encoders``: their states are
    read side by side. ``latent_colours``: red, green and blue, from -1 to 1, that each latent channel adds, and last of
    all what there is without them.

    ``prediction_type``: of checkpoints that do not say what they predict; None if only the model itself can tell.
    ``v_pixels``: side of the pictures of checkpoints that predict v, if it is another than that of ``full``.
    ``zero_empty``: whether the empty prompt stands for zeros in place of its embedding.
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
    text_encoders: tuple[TextEncoder, ...]
    lora: LoraNames
    full: FullSize
    latent_colours: tuple[tuple[float, float, float], ...]
    v_pixels: int = 0
    zero_empty: bool = False

    @property
    def lora_prefixes(self) -> tuple[str, ...]:
        """How module keys of its LoRA files begin: those of the U-Net, and those of the text encoders."""
        return (self.lora.prefix, *(encoder.lora for encoder in self.text_encoders))

    def __str__(self) -> str:
        """Return the short name with its article, ``an SD 1.x``."""
        return f"{self.article} {self.short}"
