"""Where training starts from several LoRAs: each keeps what it does to its own concepts, and loses the rest.

Added up, LoRAs hurt other concepts far more than each alone, since each does a little to all pictures. What a change
W_i of a layer does is told by the vectors x that the layer reads: for c, read for the concepts that LoRA i erases, and
p, read for what is to stay as it is,

    W = argmin  sum_i E || (W - W_i) c_i ||^2  +  mu (E || W p ||^2 + l || W ||^2)
      = sum_i W_i E[c_i c_i^T] M^-1,    M = sum_i E[c_i c_i^T] + mu (E[p p^T] + l I)

with the sum over i and E[p p^T] scaled to a mean eigenvalue of 1. For the keys and values of cross-attention, which
read nothing but token states of prompts, this is how MACE (Lu et al., CVPR 2024, Section 3.3) joins its LoRAs. What is
new is that values are told what they read in effect, token states weighted by attention (see
:mod:`erasure.training.attended`), and that the same is done for all other layers: what they read is seen while the
model samples, a concept with the LoRA that erases it, other words without any. Layers that read too much for that get
the mean of the W_i, and so do those that no LoRA changes more than a little, since to see what they read takes most of
the rows; what erases nothing known is added as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from erasure.concepts.space import ConceptSpace
from erasure.concepts.vocabulary import load_vocabulary
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.errors import LoraFileError
from erasure.lora.adapter import DOWN, UP, load_lora_state, lora_layers, lora_state
from erasure.lora.combine import summed_change
from erasure.lora.file import read_lora
from erasure.lora.fit import match_lora, module_paths
from erasure.lora.layer_choice import base_layers, text_reader_names, text_values
from erasure.lora.low_rank import product_norm, truncated
from erasure.lora.model_adapter import model_layers, model_shapes
from erasure.lora.parent import Parent
from erasure.model.model import Model
from erasure.spread import spread
from erasure.training.attended import attended, stage_of
from erasure.training.closed_form import low_rank, pairs
from erasure.training.closed_start import nearest_words, preserved_reads
from erasure.training.joint_start_sizes import FAR_READ, FAR_WORDS, NAMES, NEAR_WORDS, TEMPLATES, near_read_each
from erasure.training.joint_text import is_of_text
from erasure.training.layer_inputs import input_moments
from erasure.training.preserved_states import PreservedStates, far_words
from erasure.training.text_start_sizes import has_text_start
from erasure.training.uce import edited_states

# mu and l of the formula: for keys, for values, and for layers that do not read prompts.
KEYS, VALUES, OTHERS = (0.4, 1.0), (0.2, 2.0), (0.5, 0.05)
# Weights of a target's other names, which its own carries along in part: among token states, and in what values read.
NAME_WEIGHT, NAME_WEIGHT_READ = 0.25, 0.05
# How much near words count among all whose reading by values is preserved: of many erasures, all others bear more.
NEAR_SHARE = 0.5
# A LoRA changes a layer more than a little if the change, in parts of the layer's own weights, is at least this part of
# that of the layer which it changes most.
LEAST_CHANGE = 0.1
# A layer that reads longer vectors would need too much memory.
LONGEST = 2048
_Changes = Mapping[str, tuple[Tensor, Tensor]]
"""What a LoRA adds to the weights, at its weight: ``up`` (out, r) and ``down`` (r, in * k * k) by module path, float64
on the CPU."""


@torch.no_grad()
def joint_start(
    model: Model,
    space: ConceptSpace,
    config: EraseConfig,
    parents: Sequence[Parent],
    preserved: PreservedStates | None,
) -> dict[str, Tensor]:
    """Return the LoRA's weights, as :func:`erasure.lora.adapter.lora_state` does, with the joint change of ``parents``.

    Of every layer's change the LoRA holds what its rank holds best. ``preserved``: None if no layer of the LoRA reads
    prompts. The LoRA on the U-Net is another one meanwhile. Rows are counted for training. Raises: LoraFileError if a
    parent does not fit the model, or changes layers that the LoRA does not have.
    """
    first = lora_state(model.unet)
    changes = [_changes(parent, model, config) for parent in parents]
    touched = [path for path in lora_layers(model.unet) if any(path in own for own in changes)]
    try:
        with model.rows.purpose("training"):
            joints = _joints(model, space, config, parents, changes, touched, preserved)
    finally:
        load_lora_state(model.unet, first)
    scale = config.alpha / config.rank
    for path in touched:
        change, metric = joints[path].solved()
        down, up, _ = low_rank(change / scale, config.rank, metric)
        _set(first, path, up, down)
    return first


class Joint:
    """The formula for one layer. ``size``: (out, in * k * k) of its change; ``mu`` and ``pull`` (l): its numbers."""

    def __init__(self, size: Sequence[int], mu: float, pull: float):
        self._mu, self._pull = mu, pull
        self._kept = torch.zeros(tuple(size), dtype=torch.float64)  # sum_i W_i E[c_i c_i^T]
        self._added = torch.zeros_like(self._kept)
        self._own: Tensor | None = None  # sum_i E[c_i c_i^T]
        self._preserved: Tensor | None = None
        self._count = 0  # of changes that are averaged

    def keep(self, change: Tensor | None, moment: Tensor | None) -> None:
        """Add a LoRA's W_i (None: it does not change the layer) and E[c c^T] (None: not known)."""
        if moment is not None:
            self._own = moment.clone() if self._own is None else self._own + moment
        if change is not None:
            self._kept += change if moment is None else change @ moment
        self._count += moment is None

    def add(self, change: Tensor | None) -> None:
        """Add a W_i that is to stay as it is."""
        if change is not None:
            self._added += change

    def preserve(self, moment: Tensor) -> None:
        """Set E[p p^T]."""
        self._preserved = moment / moment.diagonal().mean().clamp_min(torch.finfo(moment.dtype).tiny)

    def solved(self) -> tuple[Tensor, Tensor]:
        """Return W and M."""
        identity = torch.eye(self._kept.shape[1], dtype=torch.float64)
        if self._own is None or self._preserved is None:
            return self._added + self._kept / max(1, self._count), identity
        size = self._own.diagonal().mean().clamp_min(torch.finfo(self._own.dtype).tiny)
        metric = self._own / size + self._mu * (self._preserved + self._pull * identity)
        solved: Tensor = torch.linalg.solve(metric, (self._kept / size).T).T
        return self._added + solved, metric


def _joints(
    model: Model,
    space: ConceptSpace,
    config: EraseConfig,
    parents: Sequence[Parent],
    changes: Sequence[_Changes],
    touched: Sequence[str],
    preserved: PreservedStates | None,
) -> dict[str, Joint]:
    readers, values = set(text_reader_names(touched)), set(text_values(touched))
    keys = readers - values
    layers = base_layers(model.unet)
    changed = set().union(*(changed_layers(own, layers) for own in changes)) - readers
    seen = {path: layers[path] for path in touched if path in changed and _can_be_seen(layers[path])}
    joints = {
        path: Joint(
            layers[path].weight.flatten(1).shape, *(KEYS if path in keys else VALUES if path in values else OTHERS)
        )
        for path in touched
    }
    for parent, own in zip(parents, changes, strict=True):
        prompts = _prompts(parent, space, config)
        if not prompts:
            for path in touched:
                joints[path].add(_whole(own, path))
            continue
        moments: dict[str, Tensor] = {}
        if seen:
            _put_on(model, own, config)
            moments = input_moments(model, seen, prompts, config.seed, config.sampling_steps)
        moments |= dict.fromkeys(keys, _token_states(model, space, config, parent)) if keys else {}
        if values:
            read = _attended(model, space, config, parent)
            moments |= {path: read[stage_of(path)] for path in values}
        for path in touched:
            joints[path].keep(_whole(own, path), moments.get(path))
    if seen:
        with model.frozen():
            words = _preserved_prompts(model, space, config)
            for path, moment in input_moments(model, seen, words, config.seed, config.sampling_steps).items():
                joints[path].preserve(moment)
    if preserved is not None:
        moment = preserved.moment()
        for path in keys:
            joints[path].preserve(moment)
    if values:
        near = nearest_words(space, config, near_read_each(len(space.targets)))
        kept = preserved_reads(model, config, near, far_words(model, space, config, FAR_READ), NEAR_SHARE)
        for path in values:
            joints[path].preserve(kept[stage_of(path)].double())
    return joints


def changed_layers(changes: _Changes, layers: Mapping[str, nn.Module]) -> set[str]:
    """Return the layers, by module path, that a LoRA changes more than a little. ``layers``: the U-Net's own."""
    sizes = {
        path: product_norm(up, down) / float(torch.linalg.vector_norm(layers[path].weight))
        for path, (up, down) in changes.items()
    }
    return {path for path, size in sizes.items() if size >= LEAST_CHANGE * max(sizes.values())}


def _can_be_seen(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) and layer.in_features <= LONGEST


def _put_on(model: Model, changes: _Changes, config: EraseConfig) -> None:
    """Put a LoRA on the U-Net, as far as the rank of the one that is on it holds it."""
    state = {name: torch.zeros_like(weight) for name, weight in lora_state(model.unet).items()}
    for path, (up, down) in changes.items():
        cut = truncated(up, down, config.rank)
        _set(state, path, cut.up * (config.rank / config.alpha), cut.down)
    load_lora_state(model.unet, state)


def _set(state: dict[str, Tensor], path: str, up: Tensor, down: Tensor) -> None:
    """Set a layer of an adapter's state; what is left of its rank becomes zero."""
    for name, found in ((path + DOWN, down), (path + UP, up)):
        whole = torch.zeros_like(state[name])
        part = whole[: len(found)] if name.endswith(DOWN) else whole[:, : found.shape[1]]
        part.copy_(found.reshape(part.shape))
        state[name] = whole


def _whole(changes: _Changes, path: str) -> Tensor | None:
    """Return (out, in * k * k) of a layer, None if it is not changed."""
    if path not in changes:
        return None
    up, down = changes[path]
    return up @ down


def _prompts(parent: Parent, space: ConceptSpace, config: EraseConfig) -> list[str]:
    """Return a prompt for each target that a parent erases."""
    return [fill(config.templates[-1], concept) for concept in _names(space, config, parent)]


def _preserved_prompts(model: Model, space: ConceptSpace, config: EraseConfig) -> list[str]:
    """Return prompts with what is preserved: the word nearest to each target, and words spread over the vocabulary."""
    gone = space.gone(config)
    near = dict.fromkeys(candidate.text for target in space.targets for candidate in target.preserved[:1])
    far = [word for word in load_vocabulary(config, model.tokenizer) if word not in gone and word not in near]
    words = [*spread(list(near), NEAR_WORDS), *spread(far, FAR_WORDS)]
    return [fill(config.templates[-1], word) for word in words]


def _names(space: ConceptSpace, config: EraseConfig, parent: Parent) -> dict[str, list[str]]:
    """Return the names of each target that a parent erases, its own first."""
    names = {target.target: own for target, own in zip(space.targets, space.erased_by_target(config), strict=True)}
    return {concept: [concept, *(name for name in names[concept] if name != concept)]
            for concept in parent.erases if concept in names}  # fmt: skip


def _token_states(model: Model, space: ConceptSpace, config: EraseConfig, parent: Parent) -> Tensor:
    """Return E[c c^T] (d, d), float64 on the CPU, over the token states of the prompts that a parent erases."""
    own = {name for names in _names(space, config, parent).values() for name in names}
    moments = []
    for pair in pairs(space, config):
        if pair.name in own:
            states = edited_states(model, [pair])[0].cpu()
            moments.append((1.0 if pair.name in parent.erases else NAME_WEIGHT) * states @ states.T)
    return torch.stack(moments).sum(0)


def _attended(model: Model, space: ConceptSpace, config: EraseConfig, parent: Parent) -> dict[str, Tensor]:
    """Return E[c c^T] (d, d), float64 on the CPU, by stage, over what values read of prompts that a parent erases."""
    templates = config.templates
    prompts: dict[str, float] = {}
    for names in _names(space, config, parent).values():
        prompts |= dict.fromkeys((fill(template, names[0]) for template in templates[:TEMPLATES]), 1.0)
        for turn, name in enumerate(names[1 : 1 + NAMES]):
            prompts[fill(templates[turn % len(templates)], name)] = NAME_WEIGHT_READ
    found = attended(model, list(prompts), config.seed, weights=list(prompts.values()))
    return {stage: read.own.double() for stage, read in found.items()}


def _changes(parent: Parent, model: Model, config: EraseConfig) -> _Changes:
    """Read what a parent changes in the U-Net. Raises: LoraFileError."""
    file, modules = read_lora(parent.path), model.parts.modules
    match_lora(file, model_shapes(modules))
    paths, trained = module_paths(model_layers(modules), file.family), set(lora_layers(model.unet))
    edited = {key for key in file.modules if has_text_start(config) and is_of_text(model, paths[key])}
    own = [key for key in file.modules if key not in edited]
    missing = [paths[key] for key in own if paths[key] not in trained]
    if missing:
        raise LoraFileError(
            f"{file.path.name} changes layers that the new LoRA does not have ({len(missing)}, such as {missing[0]}); "
            "choose layers that have them all, such as full"
        )
    found = {paths[key]: summed_change([(file, parent.weight)], key, torch.float64) for key in own}
    return {path: change for path, change in found.items() if change is not None}
