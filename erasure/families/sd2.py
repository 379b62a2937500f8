"""Stable Diffusion 2: 2.0 and 2.1, both those that predict the noise (512 pixels) and those that predict v (768)."""

from __future__ import annotations

import dataclasses

from erasure.families.family import Family, LoraNames, Marks, PartNames, TextEncoder
from erasure.families.sd1 import DATA, SD1, TOKENIZER

# Numbers of weights are counted, of the text encoder those of the layers that are run. Memory and time are not
# measured, but those of SD 1.x: the U-Net has the same widths and depths and differs only in what cross-attention
# reads (1024 instead of 768) and in the number of heads, and attention is computed without its map. (That is why
# ``upcast_attention`` of 2.1's folders decides nothing here: torch's kernels sum in fp32 in any case.)
_FULL_SIZE = dataclasses.replace(
    SD1.full,
    unet=865_910_724,
    text_encoder=340_387_840,
    prompt_bytes=77 * 1024 * 4,
    measured_on=SD1.short,
)

SD2 = Family(
    name="Stable Diffusion 2",
    short="SD 2.x",
    article="an",
    marks=Marks(
        text_names=("cond_stage_model.model.",),
        context=(1024,),
        text_classes=("OpenCLIP", "OpenClip"),
        unet_settings=(("use_linear_projection", True),),
        lora_metadata=(("ss_v2", "True"),),
    ),
    pipelines=SD1.pipelines,
    parts=PartNames(unet=SD1.parts.unet, vae=SD1.parts.vae, text="cond_stage_model."),
    prediction_type=None,
    latent_channels=4,
    pixels_per_latent=8,
    vae_scale=SD1.vae_scale,
    schedule=SD1.schedule,
    tokens=77,
    yaml=DATA / "sd2.yaml",
    text_encoders=(
        TextEncoder(
            prefix="cond_stage_model.model.",
            layout="openclip",
            config=DATA / "open-clip-vit-h-14.json",
            tokenizer_folder=TOKENIZER,
            padding="!",  # id 0, with which OpenCLIP's tokenizer and web UIs fill up
            models=("laion2b_s32b_b79k",),
            skipped=1,
        ),
    ),
    lora=LoraNames(
        prefix="lora_unet_",
        version="sd_v2",
        v2="True",
        architecture="stable-diffusion-v2-512/lora",
        architecture_v="stable-diffusion-v2-768-v/lora",
        card="SD2",
        flags=("v2",),
    ),
    full=_FULL_SIZE,
    v_pixels=768,
    latent_colours=SD1.latent_colours,
)
