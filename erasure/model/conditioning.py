"""What the U-Net is told of prompts, in a form that does not depend on which tensors a model takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """A batch of prompts as tensors whose first dimension is the batch. A single prompt is a batch of one.

    Searches, losses and latents use only the methods below, so a model that takes more tensors needs only a new field.
    What the U-Net is told of the picture alone, such as its size, is not here: no search should change it.
    """

    states: Tensor  # (b, tokens, d): the text encoders' states, read by cross-attention
    pooled: Tensor | None = None  # (b, p): the text as one vector, added to the timestep's; None: the U-Net takes none

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All fields that there are, in order."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in values if value is not None)

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def apply(self, function: Callable[..., Tensor], *others: Conditioning) -> Conditioning:
        """Apply ``function`` to every tensor, together with the same field of each of ``others``."""
        places = zip(self.tensors, *(other.tensors for other in others), strict=True)
        return Conditioning(*(function(*tensors) for tensors in places))

    @staticmethod
    def cat(batches: Sequence[Conditioning]) -> Conditioning:
        """Concatenate several batches."""
        places = zip(*(batch.tensors for batch in batches), strict=True)
        return Conditioning(*(torch.cat(tensors) for tensors in places))

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: int | slice | Sequence[int] | Tensor) -> Conditioning:
        """Return the chosen prompts; a number gives a batch of one. Raises: IndexError if it is out of range."""
        if isinstance(rows, int):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"prompt {rows} of a batch of {len(self)}")
            rows = slice(rows % len(self), rows % len(self) + 1)
        return self.apply(lambda tensor: tensor[rows])

    def __iter__(self) -> Iterator[Conditioning]:
        return (self[row] for row in range(len(self)))

    def split(self, rows: int) -> list[Conditioning]:
        """Split into batches of at most ``rows`` prompts."""
        return [self[start : start + rows] for start in range(0, len(self), rows)]

    def expand(self, rows: int) -> Conditioning:
        """Repeat a batch of one ``rows`` times, without copying it."""
        return self.apply(lambda tensor: tensor.expand(rows, *tensor.shape[1:]))

    def to(self, device: torch.device | str) -> Conditioning:
        """Return the batch on another device."""
        return self.apply(lambda tensor: tensor.to(device))

    def detach(self) -> Conditioning:
        """Return the batch without its graph."""
        return self.apply(Tensor.detach)

    def mix(self, weights: Tensor) -> Conditioning:
        """Return the prompts' sum, weighted by ``weights`` (b,): a batch of one, differentiable in the weights."""
        return self.apply(lambda tensor: torch.einsum("k,k...->...", weights, tensor)[None])

    def leaf(self) -> Conditioning:
        """Return the same values as leaves of a new graph, for :meth:`gradient`."""
        return self.apply(lambda tensor: tensor.detach().requires_grad_())

    def gradient(self, value: Tensor) -> Conditioning:
        """Return d value / d self for each field; the number ``value`` was computed from ``self``, a :meth:`leaf`."""
        return Conditioning(*torch.autograd.grad(value, self.tensors))

    def moved(self, way: Conditioning) -> Conditioning:
        """Return the sum with ``way``, such as a step along a :meth:`gradient`."""
        return self.apply(torch.add, way)


@dataclass(frozen=True)
class Prompt:
    """A prompt: its text, and its conditioning, a batch of one.

    ``exact`` is False for a mixture or a perturbation, of which the text is only the nearest concept.
    """

    text: str
    conditioning: Conditioning
    exact: bool = True
