"""Adam's moments as named tensors, and back, and to another device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Adam


def adam_tensors(optimizer: Adam) -> dict[str, Tensor]:
    """Copies; names are ``<number of the parameter>.<name of the moment>``."""
    return {
        f"{number}.{name}": torch.as_tensor(value).clone()
        for number, moments in optimizer.state_dict()["state"].items()
        for name, value in moments.items()
    }


def load_adam_tensors(optimizer: Adam, tensors: Mapping[str, Tensor]) -> None:
    """Undoes :func:`adam_tensors`; the moments go where their parameters are."""
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def move_adam(optimizer: Adam, device: torch.device | str) -> None:
    """The moments, for parameters that have been moved in place."""
    for moments in optimizer.state.values():
        for name, value in moments.items():
            if name != "step":  # which torch wants on the CPU, wherever the parameters are
                moments[name] = value.to(device)
