"""Stable Diffusion 1.x: versions 1.1 to 1.5 and all models trained from them."""

from __future__ import annotations

from pathlib import Path

from erasure.families.family import Family, LoraNames, Marks, PartNames, Schedule, TextEncoder
from erasure.families.full_size import GIB, MIB, FullSize, UpdateMemory

DATA = Path(__file__).parents[1] / "data"
TOKENIZER = DATA / "clip-vit-large-patch14"

# Memory: ``python -m benchmarks.memory`` (docs/measurements.md). Seconds: four rows took 42.
_FULL_SIZE = FullSize(
    pixels=512,
    unet=859_520_964,
    vae=83_653_863,
    text_encoder=123_060_480,
    prompt_bytes=77 * 768 * 4,
    rows=8,
    cross_attention=UpdateMemory(fp32=(3.94 * GIB, 2.37 * GIB), half=(1.95 * GIB, 0.85 * GIB)),
    all_layers=UpdateMemory(fp32=(5.43 * GIB, 3.03 * GIB), half=(2.66 * GIB, 1.38 * GIB)),
    decoding=1.03 * GIB,
    cpu_seconds=10.5,
    state_per_rank=60 * MIB,
)

SD1 = Family(
    name="Stable Diffusion 1.x",
    short="SD 1.x",
    article="an",
    marks=Marks(text_names=("cond_stage_model.transformer.",), context=(768,)),
    pipelines=("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"),
    parts=PartNames(
        unet="model.diffusion_model.",
        vae="first_stage_model.",
        text="cond_stage_model.",
    ),
    prediction_type="epsilon",
    latent_channels=4,
    pixels_per_latent=8,
    vae_scale=0.18215,
    schedule=Schedule(steps=1000, start=0.00085, end=0.012),
    tokens=77,
    yaml=DATA / "sd1.yaml",
    text_encoders=(
        TextEncoder(
            prefix="cond_stage_model.transformer.",
            config=TOKENIZER / "config.json",
            tokenizer_folder=TOKENIZER,
            models=("openai/clip-vit-large-patch14",),
        ),
    ),
    lora=LoraNames(
        prefix="lora_unet_",
        version="sd_v1",
        v2="False",
        architecture="stable-diffusion-v1/lora",
        card="SD1",
    ),
    full=_FULL_SIZE,
    # As fitted and published in discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204.
    latent_colours=(
        (0.298, 0.207, 0.208),
        (0.187, 0.286, 0.173),
        (-0.158, 0.189, 0.264),
        (-0.184, -0.271, -0.473),
        (0.0, 0.0, 0.0),
    ),
)
