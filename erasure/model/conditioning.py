"""What a prompt tells the U-Net, as the code that trains and searches sees it, whatever tensors a model takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """A batch of prompts; the first dimension of every tensor is the batch. One prompt is a batch of one.

    Searches, losses and latents only use what is here, so that a model with more such tensors needs a field more.
    """

    states: Tensor  # (b, tokens, d), what cross-attention reads: the text encoder's states

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def apply(self, function: Callable[..., Tensor], *others: Conditioning) -> Conditioning:
        """``function`` of every tensor, and of those in the same place of ``others``."""
        places = zip(self.tensors, *(other.tensors for other in others), strict=True)
        return Conditioning(*(function(*tensors) for tensors in places))

    @staticmethod
    def cat(batches: Sequence[Conditioning]) -> Conditioning:
        """One batch of several, in their order."""
        places = zip(*(batch.tensors for batch in batches), strict=True)
        return Conditioning(*(torch.cat(tensors) for tensors in places))

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: int | slice | Sequence[int] | Tensor) -> Conditioning:
        """The chosen rows as a batch; a number gives a batch of one. Raises: IndexError."""
        if isinstance(rows, int):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"prompt {rows} of a batch of {len(self)}")
            rows = slice(rows % len(self), rows % len(self) + 1)
        return self.apply(lambda tensor: tensor[rows])

    def __iter__(self) -> Iterator[Conditioning]:
        return (self[row] for row in range(len(self)))

    def split(self, rows: int) -> list[Conditioning]:
        return [self[start : start + rows] for start in range(0, len(self), rows)]

    def expand(self, rows: int) -> Conditioning:
        """The same prompt ``rows`` times, without a copy of it; for a batch of one."""
        return self.apply(lambda tensor: tensor.expand(rows, *tensor.shape[1:]))

    def to(self, device: torch.device | str) -> Conditioning:
        return self.apply(lambda tensor: tensor.to(device))

    def detach(self) -> Conditioning:
        return self.apply(Tensor.detach)

    def mix(self, weights: Tensor) -> Conditioning:
        """The prompts' sum, weighted by ``weights`` (b,): a batch of one, differentiable in the weights."""
        return self.apply(lambda tensor: torch.einsum("k,k...->...", weights, tensor)[None])

    def leaf(self) -> Conditioning:
        """The same values, cut off from what they come from, for :meth:`gradient` to end at."""
        return self.apply(lambda tensor: tensor.detach().requires_grad_())

    def gradient(self, value: Tensor) -> Conditioning:
        """d value / d self, by place; ``self`` is a :meth:`leaf` that the number ``value`` was computed from."""
        return Conditioning(*torch.autograd.grad(value, self.tensors))

    def moved(self, way: Conditioning) -> Conditioning:
        """A perturbation: by ``way``, such as some steps along a :meth:`gradient`."""
        return self.apply(torch.add, way)


@dataclass(frozen=True)
class Prompt:
    """A prompt and what the U-Net is told of it, a batch of one.

    ``exact`` is False for a mixture or a perturbation: then the text only says what is nearest.
    """

    text: str
    conditioning: Conditioning
    exact: bool = True
