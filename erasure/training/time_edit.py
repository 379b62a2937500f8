"""TIME, text-to-image model editing (Orgad et al., ICCV 2023): keys and values, edited in closed form; UCE's ancestor.

For every key and value matrix W, it asks for the W' that minimises

    sum over i of || W' c_i - W c*_i ||^2  +  l * || W' - W ||^2

with c_i the token states of the source prompt, all of them, and c*_i those of the same tokens in the destination. Its
minimum, (l W + sum of W c*_i c_i^T) (l I + sum of c_i c_i^T)^-1, is W' = W + W D with

    D = (A - C) C^T M^-1,    M = C C^T + l I

Nothing but l holds the other prompts. The destination of the published edits holds every word of the source. Where a
concept is erased, its own tokens have no counterpart, and get one by their place: see :func:`counterparts`. The
augmentations of the published edits ("A photo of ...") are templates here.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.lora.adapter import lora_layers
from erasure.model.model import Model
from erasure.training.closed_form import Edit, Pair, exact, least_squares, pairs

# l, as published.
PULL = 0.1


def time_edit(model: Model, space: ConceptSpace, config: EraseConfig) -> Edit:
    """Turn every name in every template into its anchor; the text around it is held by its own equations."""
    edited = pairs(space, config)
    erased = torch.cat([exact(model.embed([pair.erased]).states[0]) for pair in edited]).T
    anchors = torch.cat([_destinations(model, pair) for pair in edited]).T
    metric = erased @ erased.T + PULL * torch.eye(len(erased), dtype=erased.dtype, device=erased.device)
    change = least_squares(erased, anchors - erased, metric)
    return Edit(
        name="TIME",
        changes=dict.fromkeys(lora_layers(model.unet), change),
        metric=metric,
        erased=erased,
        anchors=anchors,
        preserved=erased[:, :0],
        erased_prompts=tuple(dict.fromkeys(pair.erased for pair in edited)),
        preserved_prompts=(),
    )


def counterparts(source: Sequence[int], destination: Sequence[int]) -> list[int]:
    """Return for every token of the source its place in the destination. Both begin and end with the same token.

    Tokens that both have in the same order are each other's counterparts. One that others replace turns into the one of
    them that is as far from the end of what they replace, since the last has seen most; if there are fewer of them,
    into their first. One that nothing replaces turns into the token before it.
    """
    places = []
    for _, i, i_end, j, j_end in SequenceMatcher(None, source, destination, autojunk=False).get_opcodes():
        first = j if j < j_end else j - 1
        places += [max(first, j_end - (i_end - k)) for k in range(i, i_end)]
    return places


def _destinations(model: Model, pair: Pair) -> Tensor:
    """Return (n, d): c*_i for every state of the source prompt; those after its end follow the destination's end."""
    source, destination = (model.tokenizer(text, truncation=True).input_ids for text in (pair.erased, pair.goal))
    states = exact(model.embed([pair.goal]).states[0])
    padding = len(model.embed([pair.erased]).states[0]) - len(source)
    places = counterparts(source, destination) + [len(destination) + k for k in range(padding)]
    return states[[min(place, len(states) - 1) for place in places]]
