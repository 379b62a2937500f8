"""Text encoders of the miniatures: the one that ships, in the places and layouts in which other families read theirs.

Stable Diffusion 2 and XL read the states before the last layer. So each encoder gets one layer more, a copy of its last
one, behind the states that the shipped U-Net knows.
"""

from __future__ import annotations

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

END, PADDING = 49407, 0
"""CLIP's end token, with which the shipped encoder was trained to be padded, and OpenCLIP's padding, ``!``."""

POOLED = 64
"""Width of the pooled text: not that of the states, so that a mistaken one is seen."""


def clip_encoder(shipped: CLIPTextModel) -> CLIPTextModel:
    """Return the shipped encoder and one layer more: its states before the last layer are those of ``shipped``."""
    return _longer(shipped, CLIPTextModel, shipped.config.hidden_act).eval()


@torch.no_grad()
def open_clip_encoder(shipped: CLIPTextModel) -> CLIPTextModelWithProjection:
    """Return the same as OpenCLIP would compute it, which differs from CLIP in three things.

    Its activation is the exact GELU (the shipped one was trained with its approximation: the states move by 1 %); it
    pads with token 0, which here becomes the end token; and it projects the pooled text, here to some orthonormal
    directions that a fixed seed draws.
    """
    encoder = _longer(shipped, CLIPTextModelWithProjection, "gelu", projection_dim=POOLED, pad_token_id=PADDING)
    table = encoder.get_input_embeddings().weight
    table[PADDING] = table[END]
    torch.nn.init.orthogonal_(encoder.text_projection.weight, generator=torch.Generator().manual_seed(600))
    return encoder.eval()


@torch.no_grad()
def _longer(shipped: CLIPTextModel, kind: type[CLIPTextModel], activation: str, **changes: int) -> CLIPTextModel:
    layers = shipped.config.num_hidden_layers
    config = {**shipped.config.to_dict(), "hidden_act": activation, "num_hidden_layers": layers + 1, **changes}
    encoder = kind(CLIPTextConfig.from_dict(config))
    # Versions of transformers differ in the prefix text_model.
    weights = {name.removeprefix("text_model."): weight for name, weight in shipped.state_dict().items()}
    for name, parameter in encoder.named_parameters():
        if name != "text_projection.weight":
            source = name.removeprefix("text_model.").replace(f"layers.{layers}.", f"layers.{layers - 1}.")
            parameter.copy_(weights[source])
    return encoder
