"""OpenCLIP text encoders in files of the original layout, translated to the names of transformers' CLIP.

Stability AI's files hold OpenCLIP's own names (github.com/mlfoundations/open_clip): ``transformer.resblocks.N`` with
one matrix for queries, keys and values, and ``text_projection`` (d, p), which multiplies from the right. diffusers
translates them (``diffusers.loaders.single_file_utils``).
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

# How the names begin that a text encoder reads, and what files have besides that pictures do not need.
PARTS = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")

UNUSED = ("text_projection", "logit_scale", "attn_mask")


def clip_names(weights: dict[str, torch.Tensor], *, projection: bool = False) -> dict[str, torch.Tensor]:
    """Return the weights of an OpenCLIP text encoder by transformers' names, ``text_model.encoder.layers.0...``.

    What does not begin with one of ``PARTS`` is left out. ``projection``: whether ``text_projection.weight`` (p, d) is
    wanted, as ``CLIPTextModelWithProjection`` has it. The shapes are not looked at. Raises: KeyError or IndexError if
    the final layer norm is missing or a number.
    """
    read = {name: tensor for name, tensor in weights.items() if name.startswith(PARTS)}
    # The library leaves out the last layer of files that begin as SD 2's do. Without a prefix, it keeps all layers.
    width = read["ln_final.weight"].shape[0]
    if not projection:
        read.pop("text_projection", None)
    # Without a projection, versions of diffusers ask the model for the width in one of two ways.
    model = SimpleNamespace(config=SimpleNamespace(hidden_size=width, projection_dim=width))
    named: dict[str, torch.Tensor] = convert_open_clip_checkpoint(model, read, prefix="")
    return named
