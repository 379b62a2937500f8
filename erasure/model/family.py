"""Families of models: all that is particular to Stable Diffusion 1.x, and would be different for another, in one place.

Another family is another entry of ``FAMILIES``. What only has to be told apart from them is in ``RELATIVES``. This file
knows no other of the package but the folder of its data, so that whatever reads or writes names can ask it.

Sources: the key names of the published files (CompVis and Stability AI's latent diffusion), kohya's sd-scripts,
Stability AI's ModelSpec 1.0.0, AUTOMATIC1111's "user metadata".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from erasure.model.full_size import SD1_FULL_SIZE, FullSize

PredictionType = Literal["epsilon", "v_prediction"]
DATA = Path(__file__).parents[1] / "data"
TOKENIZER_FILES = ("vocab.json", "merges.txt")


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

    unet: str = "model.diffusion_model."
    vae: str = "first_stage_model."
    text: str = "cond_stage_model."
    clip: str = "cond_stage_model.transformer."


@dataclass(frozen=True)
class Schedule:
    """The noise levels that it was trained with: ``steps`` of them, beta "scaled linear" from ``start`` to ``end``."""

    steps: int = 1000
    start: float = 0.00085
    end: float = 0.012


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


SD1 = Family(
    name="Stable Diffusion 1.x",
    short="SD 1.x",
    article="an",
    marks=Marks(text_names=("cond_stage_model.transformer.",), context=(768,)),
    pipelines=("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"),
    parts=PartNames(),
    prediction_type="epsilon",
    latent_channels=4,
    pixels_per_latent=8,
    vae_scale=0.18215,
    schedule=Schedule(),
    tokens=77,
    yaml=DATA / "sd1.yaml",
    text_folder=DATA / "clip-vit-large-patch14",
    text_models=("openai/clip-vit-large-patch14",),
    lora=LoraNames(
        prefix="lora_unet_",
        version="sd_v1",
        v2="False",
        architecture="stable-diffusion-v1/lora",
        card="SD1",
    ),
    full=SD1_FULL_SIZE,
)
FAMILIES: tuple[Family, ...] = (SD1,)

# The most particular first.
RELATIVES = (
    Relative(
        "Stable Diffusion XL",
        Marks(
            text_names=("conditioner.embedders.1.",),
            context=(2048,),
            embeddings=("text_time",),
            lora_names=r"^lora_te[12]_|^lora_unet_(input|output)_blocks_",
            lora_metadata=(("ss_base_model_version", "sdxl"),),
        ),
    ),
    Relative("Stable Diffusion XL refiner", Marks(text_names=("conditioner.embedders.0.model.",), context=(1280,))),
    Relative(
        "Stable Diffusion 2",
        Marks(
            text_names=("cond_stage_model.model.",),
            context=(1024,),
            text_classes=("OpenCLIP", "OpenClip"),
            lora_metadata=(("ss_v2", "True"),),
        ),
    ),
)


def relatives_besides(chosen: Iterable[Family], families: Iterable[Family] = ()) -> list[Relative]:
    """All that is known by name, ``families`` included, but for the chosen ones."""
    names = {family.name for family in chosen}
    known = [*RELATIVES, *(Relative(family.name, family.marks) for family in families)]
    return [relative for relative in known if relative.name not in names]


def choose(families: Iterable[Family] = FAMILIES) -> str:
    """The advice that goes with every refusal, ``Choose a Stable Diffusion 1.x checkpoint.``"""
    return f"Choose a {' or '.join(family.name for family in families)} checkpoint."


def supported(families: Iterable[Family] = FAMILIES) -> str:
    """For people, ``an SD 1.x`` (or "an SD 1.x or an SDXL")."""
    return " or ".join(map(str, families))
