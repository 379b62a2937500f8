"""Names a weights file for what it is, from the names and shapes of its tensors.

Sources of the marks: the key names of the published files themselves (CompVis and Stability AI's latent
diffusion, diffusers, kohya's sd-scripts, AUTOMATIC1111's embeddings and hypernetworks, ControlNet, Flux and
SD 3 references).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from erasure.model.weights_file import WeightsFile

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model."
CONV_IN = UNET + "input_blocks.0.0.weight"
CONTEXT = re.compile(re.escape(UNET) + r"(input_blocks|middle_block|output_blocks)\..*\.attn2\.to_k\.weight$")

_CHOOSE = "Choose the Stable Diffusion 1.x checkpoint that it is made for."
_FULL = "Choose a full Stable Diffusion 1.x checkpoint (U-Net, VAE and text encoder in one file)."
_SD1 = "Choose a Stable Diffusion 1.x checkpoint."

# (pattern searched in every tensor name, what the file is, what to do); the first found names the file.
_MARKS: tuple[tuple[str, str, str], ...] = (
    (r"(^|[._])lora[._]?(down|up|mid|A|B|linear_layer|magnitude)", "a LoRA file", _CHOOSE),
    (
        r"^lora_(unet|te\d?|transformer)_|\.(hada|lokr)_w\d|\.(oft_blocks|oft_diag)$",
        "a LoRA (LyCORIS) file",
        _CHOOSE,
    ),
    (r"^(control_model|input_hint_block|controlnet_\w+)\.|^lllite_", "a ControlNet file", _CHOOSE),
    (r"^(image_proj|ip_adapter)\.", "an IP-Adapter file", _CHOOSE),
    (r"motion_modules\.|temporal_transformer\.", "an AnimateDiff motion module", _CHOOSE),
    (r"^(adapter\.)?body\.\d+\.(block1|in_conv|resnets)\.", "a T2I-Adapter file", _CHOOSE),
    (r"(^|\.)joint_blocks\.\d", "a Stable Diffusion 3 model", _SD1),
    (r"(^|\.)double_blocks\.\d|^(model\.diffusion_model\.)?single_blocks\.\d", "a Flux model", _SD1),
    (
        r"^(transformer\.)?(single_)?transformer_blocks\.\d",
        "a diffusion transformer (SD 3, Flux or newer)",
        _SD1,
    ),
    (r"^model\.diffusion_model\.(blocks|layers|transformer_blocks)\.\d", "a diffusion transformer", _SD1),
    (
        r"^(down_blocks|mid_block|up_blocks)\..*(attentions|resnets)\.",
        "a U-Net without VAE and text encoder",
        _FULL,
    ),
    (r"^(encoder|decoder)\.(down|up|mid|down_blocks|up_blocks|mid_block|conv_in)\b", "a VAE", _FULL),
    (r"^(string_to_param|emb_params|clip_[lg]|<.*>)$", "a textual inversion embedding", _CHOOSE),
)


def foreign_kind(weights: WeightsFile) -> tuple[str, str] | None:
    """What the file is and what to do, unless it has the parts of an SD 1.x text-to-image checkpoint.

    A result is a pair such as ("a LoRA file", "Choose the ..."). None does not promise that every weight is
    there: that is checked when it is loaded.
    """
    names = weights.shapes
    if not has(names, UNET):
        return _without_unet(weights)
    return _other_backbone(weights) or _missing_parts(names) or _other_input(weights)


def has(names: Iterable[str], prefix: str) -> bool:
    """Whether any of the names starts with the prefix."""
    return any(name.startswith(prefix) for name in names)


def _without_unet(weights: WeightsFile) -> tuple[str, str]:
    names = weights.shapes
    if "string_to_param" in weights.others or "string_to_token" in weights.others:
        return "a textual inversion embedding", _CHOOSE
    if {"layer_structure", "activation_func"} & weights.others or {"320", "640"} <= weights.others:
        return "a hypernetwork", _CHOOSE
    for pattern, what, advice in _MARKS:
        if any(re.search(pattern, name) for name in names):
            return what, advice
    if has(names, VAE):
        return "a VAE", _FULL
    if has(names, TEXT) or has(names, "text_model.") or has(names, "conditioner."):
        return "a text encoder", _FULL
    if len(names) <= 2 and all(shape[-1:] in ((768,), (1024,), (1280,)) for shape in names.values()):
        return "a textual inversion embedding", _CHOOSE
    if "input_blocks.0.0.weight" in names:
        return "a U-Net without VAE and text encoder", _FULL
    return "a model of an unknown kind", _SD1


def _other_backbone(weights: WeightsFile) -> tuple[str, str] | None:
    """Larger relatives: told by the text encoders and by the width of the cross-attention's context."""
    names = weights.shapes
    for pattern, what, advice in _MARKS:
        if CONV_IN not in names and any(re.search(pattern, name) for name in names):
            return what, advice
    context = next((shape[-1] for name, shape in names.items() if CONTEXT.match(name)), None)
    if has(names, "conditioner.embedders.1.") or context == 2048:
        return "a Stable Diffusion XL model", _SD1
    if has(names, "conditioner.embedders.0.model.") or context == 1280:
        return "a Stable Diffusion XL refiner", _SD1
    if has(names, TEXT + "model.") or context == 1024:
        return "a Stable Diffusion 2 model", _SD1
    if CONV_IN not in names or context is None:
        return "a model of an unknown kind", _SD1
    if has(names, "control_model."):
        return "a ControlNet with its checkpoint in one file", _SD1
    return None


def _missing_parts(names: Iterable[str]) -> tuple[str, str] | None:
    missing = [part for part, prefix in (("VAE", VAE), ("text encoder", TEXT)) if not has(names, prefix)]
    return (f"a U-Net without {' and '.join(missing)}", _FULL) if missing else None


def _other_input(weights: WeightsFile) -> tuple[str, str] | None:
    """Models that take more than latents and text, or that predict something else."""
    channels = weights.shapes[CONV_IN][1] if len(weights.shapes[CONV_IN]) == 4 else 0
    if channels == 9:
        return "an inpainting model (9 input channels)", "Choose the text-to-image version of the model."
    if channels == 8:
        return "an InstructPix2Pix model (8 input channels)", "Choose the text-to-image version of the model."
    if channels != 4:
        return f"a model of {channels} input channels (text-to-image has 4)", _SD1
    everything = {*weights.shapes, *weights.others}
    if "v_pred" in everything or weights.metadata.get("modelspec.prediction_type", "").startswith("v"):
        return (
            "a v-prediction model",
            "Choose a Stable Diffusion 1.x checkpoint that predicts the noise (epsilon).",
        )
    if "ztsnr" in everything:
        return "a zero-terminal-SNR model", _SD1
    return None
