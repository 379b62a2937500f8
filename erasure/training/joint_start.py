"""Where training starts from several LoRAs: each keeps what it does to its own concepts, and loses the rest.

Added up, LoRAs hurt other concepts more than each alone, since each does a little to all prompts. The keys and values
of cross-attention read nothing but a prompt's token states, so that what each LoRA does there is known in closed form:
for the changes W_i of LoRAs that erase concepts with token states c_i, and states p that are to stay as they are,

    W = argmin  sum_i E || (W - W_i) c_i ||^2  +  mu (E || W p ||^2 + l || W ||^2)
      = sum_i W_i E[c_i c_i^T] M^-1,    M = sum_i E[c_i c_i^T] + mu (E[p p^T] + l I)

which is how MACE (Lu et al., CVPR 2024, Section 3.3) joins its LoRAs, with second moments that are scaled to a mean
eigenvalue of 1 in the place of plain sums. The changes of all other layers are added up, as are those of LoRAs that
erase nothing known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.errors import LoraFileError
from erasure.lora.adapter import DOWN, UP, lora_layers, lora_state, text_reader_names
from erasure.lora.file import LoraFile, match_lora, module_paths, read_lora
from erasure.lora.parent import Parent
from erasure.model.model import Model
from erasure.training.closed_form import low_rank, pairs
from erasure.training.closed_start import NAME_WEIGHT
from erasure.training.preserved_states import PreservedStates
from erasure.training.uce import edited_states

# mu and l of the formula.
PRESERVE, PULL = 1.0, 0.05


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
    prompts. Raises: LoraFileError if a parent does not fit the model, or changes layers that the LoRA does not have.
    """
    unet = model.unet
    state, scale = lora_state(unet), config.alpha / config.rank
    files = [read_lora(parent.path) for parent in parents]
    paths = module_paths(unet, files[0].family)
    for file in files:
        _check(file, unet, paths)
    readers = set(text_reader_names(lora_layers(unet)))
    joint = None
    if preserved is not None:
        joint = Joint(moments_of_parents(model, space, config, parents), preserved.moment())
    for module in dict.fromkeys(module for file in files for module in file.modules):
        path = paths[module]
        changes = [_change(file, module, parent.weight) for file, parent in zip(files, parents, strict=True)]
        if joint is not None and path in readers:
            change, metric = joint.change(changes), joint.metric
        else:
            change = torch.stack([own for own in changes if own is not None]).sum(0)
            metric = torch.eye(change.shape[1], dtype=change.dtype)
        down, up, _ = low_rank(change / scale, config.rank, metric)
        for name, found in ((path + DOWN, down), (path + UP, up)):
            state[name] = found.reshape(state[name].shape).to(state[name])
    return state


class Joint:
    """Solves the formula for one layer after another. ``metric``: M (d, d), float64."""

    def __init__(self, moments: Sequence[Tensor | None], preserved: Tensor):
        """``moments``: E[c_i c_i^T] (d, d) of each LoRA, None if it erases nothing known; ``preserved``: E[p p^T]."""
        known = [moment for moment in moments if moment is not None]
        total = torch.stack(known).sum(0) if known else torch.zeros_like(preserved)
        size = total.diagonal().mean().clamp_min(torch.finfo(total.dtype).tiny)
        self._shares = [None if moment is None else moment / size for moment in moments]
        self.metric: Tensor = total / size + PRESERVE * (preserved + PULL * torch.eye(len(total), dtype=total.dtype))

    def change(self, changes: Sequence[Tensor | None]) -> Tensor:
        """Return W (out, d) for the W_i; None: a LoRA that does not change this layer."""
        both = [(own, share) for own, share in zip(changes, self._shares, strict=True) if own is not None]
        added = torch.stack([own if share is None else torch.zeros_like(own) for own, share in both]).sum(0)
        kept = torch.stack([torch.zeros_like(own) if share is None else own @ share for own, share in both]).sum(0)
        solved: Tensor = torch.linalg.solve(self.metric, kept.T).T
        return solved + added


def moments_of_parents(
    model: Model, space: ConceptSpace, config: EraseConfig, parents: Sequence[Parent]
) -> list[Tensor | None]:
    """Return E[c c^T] (d, d), float64 on the CPU, over the prompts that each parent erases; None if it erases none."""
    names = {target.target: own for target, own in zip(space.targets, space.erased_by_target(config), strict=True)}
    found: list[Tensor | None] = []
    for parent in parents:
        own = [name for concept in parent.erases for name in names.get(concept, ())]
        moments = []
        for pair in pairs(space, config):
            if pair.name in own:
                states = edited_states(model, [pair])[0].cpu()
                moments.append((1.0 if pair.name in parent.erases else NAME_WEIGHT) * states @ states.T)
        found.append(torch.stack(moments).sum(0) if moments else None)
    return found


def _check(file: LoraFile, unet: nn.Module, paths: Mapping[str, str]) -> None:
    """Raises: LoraFileError."""
    match_lora(file, unet)
    trained = lora_layers(unet)
    missing = [paths[module] for module in file.modules if paths[module] not in trained]
    if missing:
        raise LoraFileError(
            f"{file.path.name} changes layers that the new LoRA does not have ({len(missing)}, such as {missing[0]}); "
            "choose layers that have them all, such as full"
        )


def _change(file: LoraFile, module: str, weight: float) -> Tensor | None:
    """Return the change of a layer at a weight, (out, in * k * k), float64; None if there is none."""
    if module not in file.modules:
        return None
    down, up, scale = file.weights(module)
    return weight * scale * up.double().flatten(1) @ down.double().flatten(1)
