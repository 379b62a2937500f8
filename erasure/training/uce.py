"""Unified Concept Editing (Gandikota et al., WACV 2024): cross-attention's keys and values, edited in closed form.

For every key and value matrix W, Eq. 7 asks for the W' that minimises

    sum over (c, a) in E of || W' c - W a ||^2  +  w * sum over c in P of || W' c - W c ||^2  +  l * || W' - W ||^2

with E the token states of what is erased, each with the state a of its anchor, and P those of what is preserved. Its
minimum is W' = W + W D with

    D = (A - C) C^T M^-1,    M = C C^T + w P P^T + l I

(columns of C, A, P are token states). D is the same for every layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.lora.adapter import lora_layers
from erasure.model.model import Model
from erasure.training.closed_form import Edit, Pair, exact, least_squares, pairs, words_to_preserve

# l, the pull towards the old weights, as in the code that was published with the paper.
PULL = 0.1
# Preserved concepts weigh this much at least, however many there are: likewise.
LEAST_WEIGHT = 0.1


def uce_edit(model: Model, space: ConceptSpace, config: EraseConfig) -> Edit:
    """Preserve the empty prompt, what the user names, and with adversary ``whole`` the concept space."""
    edited = pairs(space, config)
    kept = ["", *(fill(template, word) for word in words_to_preserve(space, config) for template in config.templates)]
    kept = list(dict.fromkeys(kept))
    erased, anchors = edited_states(model, edited)
    preserved = exact(model.embed(kept).states).flatten(0, 1).T
    weight = config.preserve_weight * max(LEAST_WEIGHT, 1 / len(kept))
    metric = normal_matrix(erased, preserved, weight)
    change = least_squares(erased, anchors - erased, metric)
    return Edit(
        name="UCE",
        changes=dict.fromkeys(lora_layers(model.unet), change),
        metric=metric,
        erased=erased,
        anchors=anchors,
        preserved=preserved,
        erased_prompts=tuple(dict.fromkeys(pair.erased for pair in edited)),
        preserved_prompts=tuple(kept),
    )


def edited_states(model: Model, edited: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Return C and A (d, n): the states from a concept's last word on, end and padding included.

    What comes before the last word knows nothing of it (the text encoder is causal); what comes after knows all.
    """
    erased, anchors = [], []
    for pair in edited:
        own, goal = _from_last_word(model, pair.erased), _from_last_word(model, pair.goal)
        count = min(len(own), len(goal))
        erased.append(own[:count])
        anchors.append(goal[:count])
    return torch.cat(erased).T, torch.cat(anchors).T


def normal_matrix(erased: Tensor, preserved: Tensor, weight: float) -> Tensor:
    """Return M (d, d). ``erased``: C (d, n); ``preserved``: P (d, m); ``weight``: w."""
    identity = torch.eye(len(erased), dtype=erased.dtype, device=erased.device)
    return erased @ erased.T + weight * preserved @ preserved.T + PULL * identity


def _from_last_word(model: Model, text: str) -> Tensor:
    """Return (n, d): the states from the last token before the end token to the last one of the sequence."""
    ids = model.tokenizer(text, truncation=True).input_ids  # with a start and an end token
    return exact(model.embed([text]).states[0, len(ids) - 2 :])
