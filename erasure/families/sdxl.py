"""Stable Diffusion XL: base 1.0, and all models that were trained from it and have its layout."""

from __future__ import annotations

from erasure.families.family import Family, LoraNames, Marks, PartNames, TextEncoder
from erasure.families.full_size import GIB, MIB, FullSize, UpdateMemory
from erasure.families.sd1 import DATA, SD1, TOKENIZER

# Numbers of weights are counted. Memory and time are not measured, but scaled from those of SD 1.x: memory of each case
# by the peak of all tensors of an update that live at once, attention without its map (counted without memory behind
# them: 2.3 to 7.2 times as much at twice the side), decoding by places (4), time by arithmetic (8.4), the state by the
# weights of a LoRA (2.9). Counted so, calls of 8 rows take as much of an update's memory as with SD 1.x.
# Measured since (docs/measurements.md): the update in fp32 with checkpointing takes less than what is counted here.
_FULL_SIZE = FullSize(
    pixels=1024,
    unet=2_567_463_684,
    vae=83_653_863,
    text_encoder=123_060_480 + 694_659_840,
    prompt_bytes=(77 * 2048 + 1280) * 4,
    rows=8,
    cross_attention=UpdateMemory(fp32=(27.1 * GIB, 5.7 * GIB), half=(13.8 * GIB, 2.0 * GIB)),
    all_layers=UpdateMemory(fp32=(39.1 * GIB, 9.4 * GIB), half=(17.4 * GIB, 3.4 * GIB)),
    decoding=4.1 * GIB,
    cpu_seconds=88,
    state_per_rank=175 * MIB,
    measured_on=SD1.short,
)

SDXL = Family(
    name="Stable Diffusion XL",
    short="SDXL",
    article="an",
    marks=Marks(
        text_names=("conditioner.embedders.1.",),
        context=(2048,),
        embeddings=("text_time",),
        lora_names=r"^lora_te[12]_|^lora_unet_(input_blocks|middle_block|output_blocks)_",
        lora_metadata=(("ss_base_model_version", "sdxl"),),
    ),
    pipelines=("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"),
    parts=PartNames(unet="model.diffusion_model.", vae="first_stage_model.", text="conditioner.embedders."),
    prediction_type="epsilon",
    latent_channels=4,
    pixels_per_latent=8,
    vae_scale=0.13025,
    schedule=SD1.schedule,
    tokens=77,
    yaml=DATA / "sdxl.yaml",
    text_encoders=(
        TextEncoder(
            prefix="conditioner.embedders.0.transformer.",
            config=TOKENIZER / "config.json",
            tokenizer_folder=TOKENIZER,
            models=("openai/clip-vit-large-patch14",),
            skipped=1,
            final_norm=False,
            lora="lora_te1_text_model_",
        ),
        TextEncoder(
            prefix="conditioner.embedders.1.model.",
            layout="openclip",
            config=DATA / "open-clip-vit-bigg-14.json",
            tokenizer_folder=TOKENIZER,
            padding="!",  # token 0, with which OpenCLIP pads
            models=("laion2b_s39b_b160k",),
            part="text_encoder_2",
            tokenizer="tokenizer_2",
            skipped=1,
            final_norm=False,
            pooled=True,
            lora="lora_te2_text_model_",
        ),
    ),
    lora=LoraNames(
        prefix="lora_unet_",
        version="sdxl_base_v1-0",
        v2="False",
        architecture="stable-diffusion-xl-v1-base/lora",
        card="SDXL",
        version_v="",
        layers="original",
        civitai="SDXL 1.0",
        flags=("sdxl",),
    ),
    full=_FULL_SIZE,
    # From T. Vass, "Explaining the SDXL latent space" (huggingface.co/blog/TimothyAlexisVass): (x - 127.5) / 127.5.
    latent_colours=(
        (0.471, 0.471, 0.471),
        (-0.471, -0.039, 0.078),
        (0.196, 0.118, -0.039),
        (-0.549, -0.392, -0.275),
        (0.176, 0.098, 0.020),
    ),
    zero_empty=True,
)
