"""SPEED (Li et al., ICLR 2026): cross-attention's values, edited in closed form where preserved prompts have nothing.

For every value matrix W, it asks for the change W D that minimises

    || (W + W D) C - W A ||^2  +  || W D ||^2    with    D R = 0    and    D K = 0

Columns of C (d, n) are the states of the targets' last tokens, those of A of their anchors'. R are the same states of
what is preserved, made narrower and wider for each W:

- *Influence-based prior filtering*: only those are kept that the edit without R and K would move more than average.
- *Directed prior augmentation*: of each, ten copies with noise along W's least singular direction, on which W hardly
  looks, are added and filtered in the same way.

D R = 0 is met by staying in the null space: the eigenvectors of R R^T / n with eigenvalues under 0.1, as published;
here under 0.1 of their mean. In SD 1.x, where states have a squared norm of about d, the mean is about 1, and neither
the width nor the scale of another text encoder matters. *Invariant equality constraints*: K are the start token's state
and three means of the empty prompt's other states, and these do not move at all.

With N (d, k) an orthonormal basis of what is in the null space and at right angles to K there, the solution is

    D = (A - C) C'^T (C' C'^T + I)^-1 N^T,    C' = N^T C

which is the published (A C^T - C C^T) P (I - M K (K^T P M K)^-1 K^T P) M with M = (C C^T P + I)^-1 and P the projector
on the null space, without its inverses, which K may make singular. Where N is empty, W stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Generator, Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.errors import ConceptError
from erasure.lora.adapter import lora_layers
from erasure.lora.layer_choice import base_layers
from erasure.model.model import Model
from erasure.model.tokens import concept_tokens
from erasure.training.closed_form import Edit, exact, least_squares, pairs, words_to_preserve

# As in the published code.
THRESHOLD = 0.1
COPIES = 10
MEANS = 3


def speed_edit(model: Model, space: ConceptSpace, config: EraseConfig) -> Edit:
    """Preserve what the user names, and with adversary ``whole`` the concept space; without any, the empty prompt.

    Raises: ConceptError if no layer has a null space.
    """
    edited = pairs(space, config)
    erased = _last_tokens(model, ((pair.template, pair.name) for pair in edited))
    anchors = _last_tokens(model, ((pair.template, pair.anchor) for pair in edited))
    words = words_to_preserve(space, config)
    empty = exact(model.embed([""]).states[0]).T
    # All prompts have the state of the start token in common: the text encoder is causal. Where the empty prompt stands
    # for zeros, it is not among them.
    start = empty[:, :1] if bool(empty.any()) else exact(model.embed([edited[0].erased]).states[0, :1]).T
    kept = _last_tokens(model, ((t, word) for word in words for t in config.templates)) if words else empty[:, 1:]
    fixed = torch.cat([start, cluster_means(empty[:, 1:], MEANS)], dim=1)
    metric = erased @ erased.T + torch.eye(len(erased), dtype=erased.dtype, device=erased.device)
    free = least_squares(erased, anchors - erased, metric)

    base, generator = base_layers(model.unet), Generator().manual_seed(config.seed)
    changes, sizes = {}, []
    for name in lora_layers(model.unet):
        weight = exact(base[name].weight)
        held = refined(kept, weight, weight @ free, generator)
        basis = without(null_space(held), fixed)
        changes[name] = change_within(basis, erased, anchors)
        sizes.append(basis.shape[1])
    if not any(sizes):
        raise ConceptError(
            f"method speed has no room to edit in: the prompts to preserve, {kept.shape[1]} states of width "
            f"{len(kept)}, leave no null space; use fewer neighbours, or preserve fewer names"
        )
    return Edit(
        name="SPEED",
        changes=changes,
        metric=metric,
        erased=erased,
        anchors=anchors,
        preserved=kept,
        erased_prompts=tuple(dict.fromkeys(pair.erased for pair in edited)),
        preserved_prompts=tuple(fill(t, word) for word in words for t in config.templates) or ("",),
        remark=f", in null spaces of {min(sizes)} to {max(sizes)} of {len(kept)} dimensions"
        + (f" ({sizes.count(0)} layers without one stay as they are)" if 0 in sizes else ""),
    )


def refined(kept: Tensor, weight: Tensor, change: Tensor, generator: Generator) -> Tensor:
    """Return the R (d, n) of a layer: states that its ``change`` (out, d) moves most, and copies of them that it does.

    ``kept``: (d, m) with m at least 1; ``weight``: W (out, d).
    """
    most = kept[:, _moved_most(kept, change)]
    # Of as many singular directions as W has, the least: (d,).
    least = torch.linalg.svd(weight, full_matrices=False).Vh[-1]
    noise = torch.randn((COPIES, most.shape[1]), generator=generator, dtype=torch.float64).to(kept.device)
    copies = (most[:, None] + least[:, None, None] * noise).flatten(1)
    return torch.cat([most, copies[:, _moved_most(copies, change)]], dim=1)


def _moved_most(states: Tensor, change: Tensor) -> Tensor:
    """Return (n,): which states are moved at least as far as they are on average, so that one is among them."""
    influence = (change @ states).norm(dim=0)
    most: Tensor = influence >= influence.mean() * (1 - 1e-9)
    return most


def null_space(states: Tensor) -> Tensor:
    """Return a basis (d, k) of the directions that ``states`` (d, n) hardly have.

    They are the eigenvectors of the second moment with eigenvalues under the threshold times their mean; of zeros, all.
    """
    values, vectors = torch.linalg.eigh(states @ states.T / states.shape[1])
    basis: Tensor = vectors[:, values <= THRESHOLD * values.mean()]
    return basis


def without(basis: Tensor, fixed: Tensor) -> Tensor:
    """Return a basis (d, l) of what ``basis`` (d, k) spans and is at right angles to ``fixed`` (d, m)."""
    own = basis.T @ fixed
    u, sizes, _ = torch.linalg.svd(own)
    rank = int((sizes > 1e-9 * fixed.norm()).sum())
    left: Tensor = basis @ u[:, rank:]
    return left


def change_within(basis: Tensor, erased: Tensor, anchors: Tensor) -> Tensor:
    """Return D (d, d) for N = ``basis`` (d, k)."""
    own = basis.T @ erased
    identity = torch.eye(len(own), dtype=own.dtype, device=own.device)
    return least_squares(own, anchors - erased, own @ own.T + identity) @ basis.T


def cluster_means(states: Tensor, count: int) -> Tensor:
    """Return (d, at most count): the means of clusters of ``states`` (d, n), by Lloyd's algorithm.

    It starts at states as far from each other as can be found one by one, so that nothing is drawn at random.
    """
    chosen = [0]
    while len(chosen) < min(count, states.shape[1]):
        distances = torch.cdist(states.T, states[:, chosen].T).min(dim=1).values
        chosen.append(int(distances.argmax()))
    means = states[:, chosen]
    for _ in range(100):
        nearest = torch.cdist(states.T, means.T).argmin(dim=1)
        moved = torch.stack([states[:, nearest == k].mean(dim=1) for k in nearest.unique().tolist()], dim=1)
        if moved.shape == means.shape and torch.equal(moved, means):
            break
        means = moved
    return means


def _last_tokens(model: Model, concepts: Iterable[tuple[str, str]]) -> Tensor:
    """Return (d, n): the state of the last token of each concept, given with its template."""
    states = []
    for template, concept in concepts:
        prompt = fill(template, concept)
        last = concept_tokens(model.tokenizer, template, concept).stop - 1
        states.append(exact(model.embed([prompt]).states[0, last]))
    return torch.stack(states, dim=1)
