"""A checkpoint in the diffusers layout: ``model_index.json`` and one folder per part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
# Part -> the stems its weights are stored under.
PARTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
_SD1 = "Choose a Stable Diffusion 1.x checkpoint."
# Words in a pipeline's class name -> what the model is; the first that is found counts.
_PIPELINE_WORDS = (
    ("Inpaint", "an inpainting model"),
    ("InstructPix2Pix", "an InstructPix2Pix model"),
    ("ControlNet", "a ControlNet pipeline"),
    ("StableDiffusionXL", "a Stable Diffusion XL model"),
    ("StableDiffusion3", "a Stable Diffusion 3 model"),
    ("Flux", "a Flux model"),
    ("Upscale", "an upscaler"),
    ("Depth2Img", "a Stable Diffusion 2 depth model"),
    ("LatentConsistency", "a latent consistency model"),
)


def check_folder(folder: Path) -> None:
    """Raise BrokenCheckpoint or UnsupportedCheckpoint unless the folder is SD 1.x text-to-image."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise BrokenCheckpoint(
            f"{folder} has no model_index.json, so it is no diffusers folder. "
            "Give the folder that holds model_index.json, or a .safetensors or .ckpt file."
        )
    pipeline = str(read_json(index).get("_class_name", ""))
    if pipeline not in PIPELINES:
        what = next((what for word, what in _PIPELINE_WORDS if word in pipeline), "another kind of model")
        raise UnsupportedCheckpoint(f"{folder} is {what} (pipeline class {pipeline or 'missing'}). {_SD1}")
    for part in PARTS:
        weight_files(folder, part)
    unet, text = read_config(folder, "unet"), read_config(folder, "text_encoder")
    text = text.get("text_config", text)
    _check_parts(folder, unet, text)
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise UnsupportedCheckpoint(
            f"{folder} is a model with prediction type {prediction}. "
            "Choose a Stable Diffusion 1.x checkpoint that predicts the noise (epsilon)."
        )
    if scheduler.get("rescale_betas_zero_snr"):
        raise UnsupportedCheckpoint(f"{folder} is a zero-terminal-SNR model. {_SD1}")
    if scheduler.get("num_train_timesteps", 1000) != 1000:
        raise UnsupportedCheckpoint(f"{folder} was not trained with SD 1's 1000 noise levels. {_SD1}")


def _check_parts(folder: Path, unet: dict[str, Any], text: dict[str, Any]) -> None:
    channels, context = unet.get("in_channels", 4), unet.get("cross_attention_dim")
    if channels != 4:
        what = {9: "an inpainting model", 8: "an InstructPix2Pix model"}.get(channels, "not text-to-image")
        raise UnsupportedCheckpoint(f"{folder} is {what} ({channels} input channels; text-to-image has 4). {_SD1}")
    if context == 1024:
        raise UnsupportedCheckpoint(f"{folder} is a Stable Diffusion 2 model (context width 1024). {_SD1}")
    if unet.get("addition_embed_type") is not None or context in (1280, 2048):
        raise UnsupportedCheckpoint(f"{folder} is a Stable Diffusion XL model. {_SD1}")
    if context != text.get("hidden_size", context):
        raise BrokenCheckpoint(
            f"{folder}: the U-Net expects text of width {context}, the text encoder gives "
            f"{text['hidden_size']}. The folder mixes two models; download it again."
        )


def part_folder(folder: Path, part: str) -> Path:
    """Where a part lies; the U-Net's EMA weights are preferred where a trainer left both."""
    ema = folder / f"{part}_ema"
    return ema if (ema / "config.json").is_file() else folder / part


def weight_files(folder: Path, part: str) -> list[Path]:
    """The files that hold a part's weights: full precision before fp16, safetensors before pickle."""
    place, stem = part_folder(folder, part), PARTS[part]
    pickled = "pytorch_model" if stem == "model" else stem
    for variant in ("", ".fp16"):
        for name in (f"{stem}{variant}.safetensors", f"{pickled}{variant}.bin"):
            if (place / name).is_file():
                return [place / name]
            # A large part may be cut in pieces that an index lists.
            suffix = Path(name).suffix
            listing = place / f"{name.removesuffix(suffix)}{suffix}.index{variant}.json"
            if listing.is_file():
                return _pieces(listing)
    raise BrokenCheckpoint(
        f"{folder} lacks the weights of its {part} (say {place.name}/{stem}.safetensors). Download it again."
    )


def _pieces(listing: Path) -> list[Path]:
    names = sorted({str(name) for name in read_json(listing).get("weight_map", {}).values()})
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise BrokenCheckpoint(f"{listing} points outside its folder ({name}). Do not use this model.")
        if not (listing.parent / name).is_file():
            raise BrokenCheckpoint(f"{listing.parent} lacks {name}. Download it again.")
    return [listing.parent / name for name in names]


def read_config(folder: Path, part: str) -> dict[str, Any]:
    """A part's ``config.json``."""
    return read_json(part_folder(folder, part) / "config.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises BrokenCheckpoint."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BrokenCheckpoint(f"{path} is missing. Download the model again.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BrokenCheckpoint(f"{path} cannot be read ({error}). Download the model again.") from error
    if not isinstance(document, dict):
        raise BrokenCheckpoint(f"{path} is no configuration. Download the model again.")
    return document
