"""Starts the U-Nets of the miniatures from the one that ships, whose layers have another layout there.

Stable Diffusion 2's is the same network, in which attention's projections are linear layers instead of 1x1
convolutions: it computes the same. Stable Diffusion XL's has one level less, no attention at its finest level, and up
to ten transformer blocks in a row at its coarsest. Blocks that are added start as identities, and so does what is told
of sizes and of the pooled text. What the shipped U-Net has and this one does not is missed at first.
"""

from __future__ import annotations

import re

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from emoji_sd.making.miniature_text import POOLED
from emoji_sd.making.repetition import by_heads, evenly, side_by_side
from emoji_sd.making.width import SHIPPED, TEXT_STATES

XL_CHANNELS = (64, 128, 64)
"""The coarsest level, with 60 transformer blocks, is the narrowest, since it would have three quarters of all weights.

64 channels are the least (``making/README.md``).
"""
XL_DEPTHS = (0, 2, 10)
HEAD = 32
"""Channels of a head, those of the shipped U-Net's levels with 128 channels."""
SIZES = 6
SIZE_CHANNELS = 256
"""Numbers that SDXL's U-Net is told of a picture's size, and the width of the embedding of each."""

_WRITES_OUT = ("attn1.to_out.0", "attn2.to_out.0", "ff.net.2")


def linear_unet(shipped: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return the same U-Net with linear projections: it computes what ``shipped`` does."""
    config = {**SHIPPED.unet_config(), "use_linear_projection": True}
    unet = UNet2DConditionModel(**config)
    expected = unet.state_dict()
    unet.load_state_dict({name: w.reshape(expected[name].shape) for name, w in shipped.state_dict().items()})
    return unet


def xl_config() -> dict[str, object]:
    """Return the arguments of diffusers' ``UNet2DConditionModel``."""
    return {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": XL_CHANNELS,
        "layers_per_block": 2,
        "cross_attention_dim": 2 * TEXT_STATES,
        # In SDXL too, this field holds the number of heads: of each level.
        "attention_head_dim": [channels // HEAD for channels in XL_CHANNELS],
        "transformer_layers_per_block": [max(1, depth) for depth in XL_DEPTHS],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SIZE_CHANNELS,
        "projection_class_embeddings_input_dim": POOLED + SIZES * SIZE_CHANNELS,
    }


@torch.no_grad()
def xl_unet(shipped: UNet2DConditionModel, text: CLIPTextModel, spread: float) -> UNet2DConditionModel:
    """Return SDXL's layout, with the weights of ``shipped`` at its three finest levels and in the middle.

    ``text``: the shipped text encoder, and ``spread``: the usual deviation of its states before the final norm, which
    this U-Net reads, twice side by side.
    """
    unet = UNet2DConditionModel(**xl_config())
    weights = shipped.state_dict()
    weights |= _raw_states(weights, text, spread)
    weights |= _shortcut(weights)
    for name, parameter in unet.named_parameters():
        source = xl_source(name)
        if source is not None and source in weights:
            parameter.copy_(_fitted(name, weights[source], parameter))
        elif name.startswith("add_embedding.linear_2.") or _is_added(name):
            parameter.zero_()
    return unet


def xl_source(name: str) -> str | None:
    """Return which shipped weight the weight ``name`` starts from; None: it is new."""
    if name.startswith("add_embedding.") or re.search(r"transformer_blocks\.[1-9]", name):
        return None
    # The shipped U-Net has a level more below these.
    return re.sub(r"^up_blocks\.(\d)", lambda match: f"up_blocks.{int(match[1]) + 1}", name)


def _is_added(name: str) -> bool:
    """Tell whether it is what an added block adds to its input."""
    return bool(re.search(r"transformer_blocks\.[1-9]", name)) and any(f".{out}." in name for out in _WRITES_OUT)


def _raw_states(weights: dict[str, Tensor], text: CLIPTextModel, spread: float) -> dict[str, Tensor]:
    """Return keys, values and outputs of cross-attention that read states x before the final norm, twice side by side.

    The norm is gain (x - mean) / deviation + shift. For x of the usual deviation, that is linear. The shift adds the
    same to all keys, which attention does not see, and the same to all values, which is added to the output.
    """
    norms = {name.split(".")[-1]: value for name, value in text.state_dict().items() if "final_layer_norm" in name}
    gain, shift = norms["weight"], norms["bias"]
    centred = torch.eye(len(gain)) - 1 / len(gain)
    norm = gain[:, None] * centred / spread
    read: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if re.search(r"attn2\.to_[kv]\.weight", name):
            half = weight @ norm / 2
            read[name] = torch.cat([half, half], dim=1)
        if name.endswith("attn2.to_out.0.bias"):
            block = name.removesuffix("to_out.0.bias")
            read[name] = weight + weights[f"{block}to_out.0.weight"] @ weights[f"{block}to_v.weight"] @ shift
    return read


def _shortcut(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a shortcut that the shipped U-Net does not need, since there both levels are equally wide."""
    name, own = "down_blocks.2.resnets.0", XL_CHANNELS[1]
    bias = torch.zeros_like(weights[f"{name}.conv1.bias"])
    return {f"{name}.conv_shortcut.weight": torch.eye(own)[:, :, None, None], f"{name}.conv_shortcut.bias": bias}


def _fitted(name: str, weight: Tensor, target: Tensor) -> Tensor:
    """Return the weight in the shape of ``target``: where that is narrower, with evenly chosen channels."""
    if weight.dim() == 4 and target.dim() == 2:
        weight = weight[:, :, 0, 0]
    inner = re.search(r"\.to_(q|k|v|out)\b", name) is not None
    out_of_inner = ".to_out." in name
    writes = _channels(name, len(weight), len(target), inner and not out_of_inner)
    if weight.dim() == 1:
        return weight[writes]
    reads = _channels(name, weight.shape[1], target.shape[1], inner and out_of_inner, reads=True)
    return weight[writes][:, reads]


def _channels(name: str, own: int, kept: int, inner: bool, *, reads: bool = False) -> Tensor:
    """Return which of ``own`` channels the narrower layer keeps."""
    if own == kept:
        return torch.arange(own)
    joined = re.match(r"up_blocks\.(\d)\.resnets\.(\d)\.(norm1|conv1|conv_shortcut)\.", name)
    if joined and (reads or joined[3] == "norm1"):
        below, skip = _joined(int(joined[1]), int(joined[2]))
        return side_by_side((own - own // 2, below), (own // 2, skip))
    if inner:
        return by_heads(own, own // HEAD, kept, kept // HEAD)
    if ".ff.net.0." in name and not reads:  # the values and their gates
        return side_by_side((own // 2, kept // 2), (own // 2, kept // 2))
    return evenly(own, kept)


def _joined(block: int, layer: int) -> tuple[int, int]:
    """Return the channels that a layer on the way up reads: from below, and of a skip connection."""
    upwards = XL_CHANNELS[::-1]
    below = upwards[max(block - 1, 0)] if layer == 0 else upwards[block]
    return below, upwards[min(block + 1, 2)] if layer == 2 else upwards[block]
