"""Names a LoRA-like file for what it is, from the names and shapes of its tensors.

Sources of the marks: the files that kohya's sd-scripts, LyCORIS, diffusers and PEFT write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
PARTS = (DOWN, UP, ALPHA)
UNET_PREFIX = "lora_unet_"

# (pattern searched in every tensor name, what the file is); the first that is found names the file.
_MARKS: tuple[tuple[str, str], ...] = (
    (r"\.hada_w\d|\.hada_t\d", "a LyCORIS file (LoHa)"),
    (r"\.lokr_w\d|\.lokr_t\d", "a LyCORIS file (LoKr)"),
    (r"\.oft_blocks$|\.oft_diag$|\.oft_R\.", "a LyCORIS file (OFT)"),
    (r"\.dora_scale$|lora_magnitude_vector", "a DoRA file"),
    (r"\.lora_mid\.weight$", "a LyCORIS file (LoCon with a Tucker middle)"),
    (r"\.diff(_b)?$|\.w_norm$|\.b_norm$", "a LyCORIS file (full differences)"),
    (r"\.a1\.weight$|\.on_input$", "a LyCORIS file ((IA)^3 or GLoRA)"),
    (r"^lora_te[12]_|^lora_unet_(input|output)_blocks_", "a LoRA for Stable Diffusion XL"),
    (r"^lora_(unet|transformer)_(double|single)_blocks_|^lora_te\d?_.*t5", "a LoRA for Flux"),
    (
        r"^lora_(unet|transformer)_(joint_blocks|transformer_blocks)_",
        "a LoRA for Stable Diffusion 3 or newer",
    ),
    (r"\.lora_(A|B)(\.|$)|\.lora\.(up|down)\.|\.lora_linear_layer\.", "a LoRA in diffusers' own layout"),
    (r"^lora_te_", "a LoRA that also changes the text encoder"),
    (r"^model\.diffusion_model\.", "a full checkpoint, no LoRA"),
    (r"^(first_stage_model|encoder|decoder)\.", "a VAE, no LoRA"),
    (r"^(down_blocks|up_blocks|mid_block)\.", "a U-Net, no LoRA"),
    (r"^(string_to_param|emb_params|clip_[lg])", "a textual inversion embedding, no LoRA"),
)
_CONTEXT = {1024: "a LoRA for Stable Diffusion 2", 2048: "a LoRA for Stable Diffusion XL"}


def foreign_lora_kind(shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> str | None:
    """What the file is, unless it is a plain LoRA of an SD 1.x U-Net in kohya's layout (then None)."""
    for pattern, what in _MARKS:
        if any(re.search(pattern, name) for name in shapes):
            return what
    for name, shape in shapes.items():
        # Keys and values of cross-attention read the text, whose width tells the model's generation.
        context = re.search(r"_attn2_to_[kv]\.lora_down\.weight$", name) and len(shape) > 1 and shape[1]
        if context in _CONTEXT:
            return _CONTEXT[context]
    if metadata.get("ss_base_model_version", "").startswith("sdxl"):
        return _CONTEXT[2048]
    if metadata.get("ss_v2") == "True":
        return _CONTEXT[1024]
    if not any(name.endswith((DOWN, UP)) for name in shapes):
        return "no LoRA (it holds no lora_down or lora_up weights)"
    if not all(name.startswith(UNET_PREFIX) for name in shapes):
        return "a LoRA of an unknown layout"
    return None
