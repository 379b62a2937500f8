"""What layers of SDXL's U-Net are called in LoRA files: by the names of the original layout.

kohya's sd-scripts train SDXL on a U-Net with the original names, and so ``down_blocks_1_attentions_0_proj_in`` is
``input_blocks_4_1_proj_in`` in their files. Who reads what, of the 794 layers, by their sources:

* AUTOMATIC1111 1.10.1 (``extensions-builtin/Lora/networks.py``, tried on its own U-Net): all original names, and those
  of diffusers but for three (``add_embedding`` and the convolution of the first upsampler);
* ComfyUI (``comfy/lora.py``), and Forge, whose table is that one: both;
* diffusers (``lora_conversion_utils.py``): both. Its older versions stop at the original names of the layers outside of
  blocks (``time_embed``, ``label_emb``, ``out``, ``input_blocks_0_0``), which only ``layers`` "noxattn" and "full"
  train;
* sd-scripts (``networks/lora.py``, tried on its own U-Net): the 788 original ones of layers inside of blocks.

So the original names are written, and both are read.
"""

from __future__ import annotations

import re

# Of the layers outside of blocks; in a key, every "." of a path is "_".
_ENDS = {
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding_linear_1": "time_embed_0",
    "time_embedding_linear_2": "time_embed_2",
    "add_embedding_linear_1": "label_emb_0_0",
    "add_embedding_linear_2": "label_emb_0_2",
}
_IN_RESNET = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(
    r"(down_blocks_\d+|mid_block|up_blocks_\d+)_(resnets|attentions|downsamplers|upsamplers)_(\d+)_(.+)"
)
_LAYERS = 2  # resnets in a block of the way down


def original_name(name: str) -> str:
    """Return the original name of a layer that diffusers calls ``name``, both with ``_`` for ``.``.

    What is no such name comes back as it is, an original one too.
    """
    match = _BLOCK.fullmatch(name)
    if match is None:
        return _ENDS.get(name, name)
    block, kind, number, rest = match[1], match[2], int(match[3]), match[4]
    level = int(block.rpartition("_")[2]) * (_LAYERS + 1) if block != "mid_block" else 0
    inside = _IN_RESNET.get(rest, rest) if kind == "resnets" else rest
    if block == "mid_block":
        return f"middle_block_{2 * number}_{inside}" if kind == "resnets" else f"middle_block_1_{inside}"
    if kind == "downsamplers":
        return f"input_blocks_{level + _LAYERS + 1}_0_op"
    if kind == "upsamplers":  # after the attention, which SDXL has wherever it enlarges
        return f"output_blocks_{level + _LAYERS}_2_{inside}"
    place = 0 if kind == "resnets" else 1
    if block.startswith("down"):
        return f"input_blocks_{level + number + 1}_{place}_{inside}"
    return f"output_blocks_{level + number}_{place}_{inside}"
