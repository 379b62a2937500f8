"""What finds the LoRA's weights, as a run sees it, and the choice between the trainer and closed forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.methods import Method
from erasure.config.settings import EraseConfig
from erasure.lora.parent import Parent
from erasure.model.model import Model
from erasure.model.stage import Stage
from erasure.training.adv_unlearn import AdvUnlearn
from erasure.training.closed_form import ClosedForm, FindEdit
from erasure.training.events import Look, Note, Step
from erasure.training.forget_me_not import ForgetMeNot
from erasure.training.speed import speed_edit
from erasure.training.time_edit import time_edit
from erasure.training.trainer import Trainer
from erasure.training.uce import uce_edit

CLOSED_FORMS: dict[Method, FindEdit] = {"uce": uce_edit, "time": time_edit, "speed": speed_edit}

TRAINERS: dict[Method, type[Trainer]] = {"forget-me-not": ForgetMeNot, "adv-unlearn": AdvUnlearn}


class Solver(Protocol):
    """Iterate over it to train; stop by not asking for the next item."""

    config: EraseConfig
    step: int  # updates done

    def __iter__(self) -> Iterator[Step | Look | Note | Stage]: ...

    def tensors(self) -> dict[str, Tensor]:
        """With :meth:`meta`, all that a resumed run needs to end with the same weights."""

    def meta(self) -> dict[str, Any]:
        """The plain values of the state."""

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Go on where :meth:`tensors` and :meth:`meta` were taken."""

    def move(self, device: torch.device | str) -> None:
        """What it holds besides the model, which was moved before."""


def solver(model: Model, space: ConceptSpace, config: EraseConfig, parents: Sequence[Parent] = ()) -> Solver:
    """The one that the config's method asks for, for the LoRA that is on the model's U-Net.

    ``parents``: LoRAs that it starts from, which closed forms do not. Raises: LoraFileError if one does not fit.
    """
    find = CLOSED_FORMS.get(config.method)
    if find is not None:
        return ClosedForm(model, space, config, find)
    return TRAINERS.get(config.method, Trainer)(model, space, config, parents)
