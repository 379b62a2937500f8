"""Tells from the names and shapes of a file's tensors which family it belongs to, or else what it is.

The patterns come from published files (CompVis' and Stability AI's latent diffusion, diffusers, kohya's sd-scripts,
AUTOMATIC1111's embeddings and hypernetworks, ControlNet, the reference files of Flux and SD 3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from erasure.families.family import Family, Marks, PartNames
from erasure.families.known import choose, relatives_besides
from erasure.model.weights_file import WeightsFile

Names = Iterable[str]
Families = Sequence[Family]
Advice = Callable[[Families], str]
_TEXT_TO_IMAGE = "Choose the text-to-image version of the model."
# What the U-Net of a latent consistency model has for the guidance scale, in the names of either layout.
_GUIDANCE_INPUT = re.compile(r"(^|\.)time_embed(ding)?\.cond_proj\.weight$")
GUIDED = "a latent consistency model (LCM), whose U-Net takes the guidance scale as another input"
CONTINUOUS = "a model with EDM's noise levels, such as Playground 2.5 or CosXL"
UNDISTILLED = "Choose the checkpoint that it was distilled from."
_AVERAGED = "model_ema.diffusion_model"


@dataclass(frozen=True)
class Foreign:
    """A file that is not supported: ``what`` it is, such as "a LoRA file", and ``advice`` on what to do."""

    what: str
    advice: str


def _made_for(families: Families) -> str:
    return f"Choose the {' or '.join(family.name for family in families)} checkpoint that it is made for."


def _full(families: Families) -> str:
    names = " or ".join(family.name for family in families)
    return f"Choose a full {names} checkpoint (U-Net, VAE and text encoder in one file)."


# (pattern for tensor names, what the file is, what to do). The first pattern found decides.
_MARKS: tuple[tuple[str, str, Advice], ...] = (
    (r"(^|[._])lora[._]?(down|up|mid|A|B|linear_layer|magnitude)", "a LoRA file", _made_for),
    (
        r"^lora_(unet|te\d?|transformer)_|\.(hada|lokr)_w\d|\.(oft_blocks|oft_diag)$",
        "a LoRA (LyCORIS) file",
        _made_for,
    ),
    (r"^(control_model|input_hint_block|controlnet_\w+)\.|^lllite_", "a ControlNet file", _made_for),
    (r"^(image_proj|ip_adapter)\.", "an IP-Adapter file", _made_for),
    (r"motion_modules\.|temporal_transformer\.", "an AnimateDiff motion module", _made_for),
    (r"^(adapter\.)?body\.\d+\.(block1|in_conv|resnets)\.", "a T2I-Adapter file", _made_for),
    (r"(^|\.)joint_blocks\.\d", "a Stable Diffusion 3 model", choose),
    (r"(^|\.)double_blocks\.\d|^(model\.diffusion_model\.)?single_blocks\.\d", "a Flux model", choose),
    (
        r"^(transformer\.)?(single_)?transformer_blocks\.\d",
        "a diffusion transformer (SD 3, Flux or newer)",
        choose,
    ),
    (r"^model\.diffusion_model\.(blocks|layers|transformer_blocks)\.\d", "a diffusion transformer", choose),
    (
        r"^(down_blocks|mid_block|up_blocks)\..*(attentions|resnets)\.",
        "a U-Net without VAE and text encoder",
        _full,
    ),
    (r"^(encoder|decoder)\.(down|up|mid|down_blocks|up_blocks|mid_block|conv_in)\b", "a VAE", _full),
    (r"^(string_to_param|emb_params|clip_[lg]|<.*>)$", "a textual inversion embedding", _made_for),
)


def tell_family(weights: WeightsFile, families: Families) -> Family | Foreign:
    """Return the family if the file has the parts of its text-to-image checkpoints, or else what the file is.

    A VAE is no such part: only pictures need one, and web UIs have others. That every weight is there is checked only
    when the file is loaded.
    """
    names = weights.shapes
    parts = next((family.parts for family in families if has(names, family.parts.unet)), None)
    if parts is None:
        return _without_unet(weights, families)
    family = _told_by_marks(weights, parts, families)
    if isinstance(family, Foreign):
        return family
    return _missing_parts(names, family.parts, families) or _other_input(weights, family, families) or family


def has(names: Names, prefix: str) -> bool:
    """Return whether any of the names starts with the prefix."""
    return any(name.startswith(prefix) for name in names)


def conv_in(parts: PartNames) -> str:
    """Return the name of the U-Net's first weight, (channels, latent channels, 3, 3)."""
    return f"{parts.unet}input_blocks.0.0.weight"


def _context_width(weights: WeightsFile, parts: PartNames) -> int | None:
    """Return the width of the text states that the U-Net reads, from the keys of its cross-attention."""
    keys = re.compile(re.escape(parts.unet) + r"(input_blocks|middle_block|output_blocks)\..*\.attn2\.to_k\.weight$")
    return next((shape[-1] for name, shape in weights.shapes.items() if shape and keys.match(name)), None)


def _without_unet(weights: WeightsFile, families: Families) -> Foreign:
    names = weights.shapes
    if "string_to_param" in weights.others or "string_to_token" in weights.others:
        return Foreign("a textual inversion embedding", _made_for(families))
    if {"layer_structure", "activation_func"} & weights.others or {"320", "640"} <= weights.others:
        return Foreign("a hypernetwork", _made_for(families))
    marked = _marked(names, families)
    if marked is not None:
        return marked
    if has(names, _AVERAGED):
        return Foreign(
            "a checkpoint that has averaged (EMA) weights alone, which no web UI draws with", choose(families)
        )
    if any(has(names, family.parts.vae) for family in families):
        return Foreign("a VAE", _full(families))
    texts = (*(family.parts.text for family in families), "text_model.", "conditioner.")
    if any(has(names, prefix) for prefix in texts):
        return Foreign("a text encoder", _full(families))
    if len(names) <= 2 and all(shape[-1:] in ((768,), (1024,), (1280,)) for shape in names.values()):
        return Foreign("a textual inversion embedding", _made_for(families))
    if "input_blocks.0.0.weight" in names:
        return Foreign("a U-Net without VAE and text encoder", _full(families))
    return Foreign("a model of an unknown kind", choose(families))


def _marked(names: Names, families: Families) -> Foreign | None:
    for pattern, what, advice in _MARKS:
        if any(re.search(pattern, name) for name in names):
            return Foreign(what, advice(families))
    return None


def _told_by_marks(weights: WeightsFile, parts: PartNames, families: Families) -> Family | Foreign:
    """Tell the family by the names of the text encoders and by the width of the text states."""
    names, context = weights.shapes, _context_width(weights, parts)
    if conv_in(parts) not in names:
        marked = _marked(names, families)
        if marked is not None:
            return marked
    for relative in relatives_besides(families):
        if _fits(relative.marks, names, context):
            return Foreign(f"a {relative.name} model", choose(families))
    if conv_in(parts) not in names or context is None:
        return Foreign("a model of an unknown kind", choose(families))
    if has(names, "control_model."):
        return Foreign("a ControlNet with its checkpoint in one file", choose(families))
    fitting = next((family for family in families if _fits(family.marks, names, context)), None)
    unknown = Foreign("a model of an unknown kind", choose(families))
    return fitting or _missing_parts(names, parts, families) or unknown


def _fits(marks: Marks, names: Names, context: int | None) -> bool:
    return context in marks.context or any(has(names, prefix) for prefix in marks.text_names)


def _missing_parts(names: Names, parts: PartNames, families: Families) -> Foreign | None:
    if has(names, parts.text):
        return None
    missing = "text encoder" if has(names, parts.vae) else "VAE and text encoder"
    return Foreign(f"a U-Net without {missing}", _full(families))


def _other_input(weights: WeightsFile, family: Family, families: Families) -> Foreign | None:
    """Recognise models that take more than latents and text."""
    shape, usual = weights.shapes[conv_in(family.parts)], family.latent_channels
    channels = shape[1] if len(shape) == 4 else 0
    # An inpainting model also takes a mask and the masked picture's latents, InstructPix2Pix the edited picture's.
    if channels == 2 * usual + 1:
        return Foreign(f"an inpainting model ({channels} input channels)", _TEXT_TO_IMAGE)
    if channels == usual + 1:
        return Foreign(f"a depth-to-image model ({channels} input channels)", _TEXT_TO_IMAGE)
    if channels == 2 * usual:
        return Foreign(f"an InstructPix2Pix model ({channels} input channels)", _TEXT_TO_IMAGE)
    if any(_GUIDANCE_INPUT.search(name) for name in weights.shapes):
        return Foreign(GUIDED, UNDISTILLED)
    if has(weights.shapes, f"{family.parts.unet}label_emb.") and not family.marks.embeddings:
        return Foreign("a model whose U-Net takes more than text (label_emb)", choose(families))
    if channels != usual:
        return Foreign(f"a model with {channels} input channels (text-to-image has {usual})", choose(families))
    if any(name.startswith("edm_") for name in (*weights.shapes, *weights.others)):
        return Foreign(CONTINUOUS, choose(families))
    return None
