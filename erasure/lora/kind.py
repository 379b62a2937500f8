"""Tells from the names and shapes of a file's tensors which family its LoRA is for, or else what kind of file it is.

The patterns come from files that kohya's sd-scripts, LyCORIS, diffusers and PEFT write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from erasure.families.family import Family, Marks
from erasure.families.known import FAMILIES, relatives_besides

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
PARTS = (DOWN, UP, ALPHA)
# Layers that read the states of a text encoder, whose width differs between generations of models: keys and values of
# cross-attention, and those inside of a family's only text encoder.
READS_TEXT = re.compile(r"(_attn2_to_[kv]|^lora_te_text_model_\w+(_[qkv]_proj|_mlp_fc1))\.lora_down\.weight$")

# (pattern for tensor names, what the file is). The first pattern found decides, and the form of the layers is looked at
# before the model that they are for.
_FORMS: tuple[tuple[str, str], ...] = (
    (r"\.hada_w\d|\.hada_t\d", "a LyCORIS file (LoHa)"),
    (r"\.lokr_w\d|\.lokr_t\d", "a LyCORIS file (LoKr)"),
    (r"\.oft_blocks$|\.oft_diag$|\.oft_R\.", "a LyCORIS file (OFT)"),
    (r"\.dora_scale$|lora_magnitude_vector", "a DoRA file"),
    (r"\.lora_mid\.weight$", "a LyCORIS file (LoCon with a Tucker middle)"),
    (r"\.diff(_b)?$|\.w_norm$|\.b_norm$", "a LyCORIS file (full differences)"),
    (r"\.a1\.weight$|\.on_input$", "a LyCORIS file ((IA)^3 or GLoRA)"),
)
_MARKS: tuple[tuple[str, str], ...] = (
    (r"^lora_(unet|transformer)_(double|single)_blocks_|^lora_te\d?_.*t5", "a LoRA for Flux"),
    (
        r"^lora_(unet|transformer)_(joint_blocks|transformer_blocks)_",
        "a LoRA for Stable Diffusion 3 or newer",
    ),
    (r"\.lora_(A|B)(\.|$)|\.lora\.(up|down)\.|\.lora_linear_layer\.", "a LoRA in diffusers' own layout"),
    (r"^model\.diffusion_model\.", "a full checkpoint, no LoRA"),
    (r"^(first_stage_model|encoder|decoder)\.", "a VAE, no LoRA"),
    (r"^(down_blocks|up_blocks|mid_block)\.", "a U-Net, no LoRA"),
    (r"^(string_to_param|emb_params|clip_[lg])", "a textual inversion embedding, no LoRA"),
)
Shapes = Mapping[str, tuple[int, ...]]


def tell_lora(shapes: Shapes, metadata: Mapping[str, str], families: Sequence[Family] = FAMILIES) -> Family | str:
    """Return the family that a plain LoRA in kohya's layout is for, or else what the file is, such as "a DoRA file"."""
    form = _marked(_FORMS, shapes)
    if form is not None:
        return form
    context, relatives = _context_width(shapes), relatives_besides(families)
    for relative in relatives:
        if relative.marks.lora_names and any(re.search(relative.marks.lora_names, name) for name in shapes):
            return f"a LoRA for {relative.name}"
    mark = _marked(_MARKS, shapes)
    if mark is not None:
        return mark
    for relative in relatives:
        if _fits(relative.marks, context, metadata):
            return f"a LoRA for {relative.name}"
    if not any(name.endswith((DOWN, UP)) for name in shapes):
        return "no LoRA (it holds no lora_down or lora_up weights)"
    version = metadata.get("ss_base_model_version")
    named = [each for each in families if version in each.lora.versions]
    fitting = [each for each in families if _fits(each.marks, context, metadata)]
    spelt = [each for each in families if each.marks.lora_names and _marked([(each.marks.lora_names, "it")], shapes)]
    family = next(iter([*fitting, *named, *spelt, *families]))
    return family if all(name.startswith(family.lora_prefixes) for name in shapes) else "a LoRA of an unknown layout"


def _marked(marks: Iterable[tuple[str, str]], names: Iterable[str]) -> str | None:
    return next((what for pattern, what in marks if any(re.search(pattern, name) for name in names)), None)


def _fits(marks: Marks, context: int | None, metadata: Mapping[str, str]) -> bool:
    told = any(metadata.get(key, "").startswith(value) for key, value in marks.lora_metadata)
    return context in marks.context or told


def _context_width(shapes: Shapes) -> int | None:
    """Return the width of the text states, which differs between generations of models."""
    for name, shape in shapes.items():
        if READS_TEXT.search(name) and len(shape) > 1:
            return shape[1]
    return None
