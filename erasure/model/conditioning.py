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

    Where a LoRA changes the text encoders, the tuned model is told other things of a prompt than the frozen one. Then
    both are here, so that a prompt can be given to either model; a mixture or a step of a search is one of both.
    """

    states: Tensor  # (b, tokens, d): the text encoders' states, read by cross-attention
    pooled: Tensor | None = None  # (b, p): the text as one vector, added to the timestep's; None: the U-Net takes none
    # What the frozen model is told; None: the same.
    frozen_states: Tensor | None = None
    frozen_pooled: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All fields that there are, in order."""
        return tuple(self.named.values())

    @property
    def as_tuned(self) -> Conditioning:
        """What the tuned model is told; either model can be told it."""
        return Conditioning(self.states, self.pooled)

    @property
    def as_frozen(self) -> Conditioning:
        """What the frozen model is told, and nothing else."""
        if self.frozen_states is None:
            return Conditioning(self.states, self.pooled)
        return Conditioning(self.frozen_states, self.frozen_pooled)

    def beside(self, frozen: Conditioning) -> Conditioning:
        """Return the batch as what the tuned model is told, with ``frozen`` as what the frozen one is."""
        return Conditioning(self.states, self.pooled, frozen.states, frozen.pooled)

    @property
    def named(self) -> dict[str, Tensor]:
        """All fields that there are, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def apply(self, function: Callable[..., Tensor], *others: Conditioning) -> Conditioning:
        """Apply ``function`` to every tensor, together with the same field of each of ``others``."""
        return _of_each(function, (self, *others))

    @staticmethod
    def cat(batches: Sequence[Conditioning]) -> Conditioning:
        """Concatenate several batches."""
        return _of_each(lambda *tensors: torch.cat(tensors), batches)

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

    def gradient(self, value: Tensor, scale: float = 1.0) -> Conditioning:
        """Return d value / d self for each field; the number ``value`` was computed from ``self``, a :meth:`leaf`.

        It is zero in what the other of the two models is told. ``scale``: by what the value is multiplied on its way
        backward through a model in fp16, where the gradient would vanish. What is too large with it counts as zero.
        """
        named = self.named
        found = torch.autograd.grad(value * scale, list(named.values()), allow_unused=True)
        gradients = (
            torch.zeros_like(own) if each is None else each.nan_to_num(0.0, 0.0, 0.0) / scale if scale != 1 else each
            for each, own in zip(found, named.values(), strict=True)
        )
        return Conditioning(**dict(zip(named, gradients, strict=True)))

    def moved(self, way: Conditioning) -> Conditioning:
        """Return the sum with ``way``, such as a step along a :meth:`gradient`."""
        return self.apply(torch.add, way)


def _of_each(function: Callable[..., Tensor], batches: Sequence[Conditioning]) -> Conditioning:
    """Return what a function makes of the same field of several batches. Raises: ValueError if their fields differ."""
    named = [batch.named for batch in batches]
    kinds = list(dict.fromkeys(tuple(each) for each in named))
    if len(kinds) > 1:
        what = " and ".join(", ".join(kind) for kind in kinds)
        raise ValueError(f"batches of prompts with different fields cannot be put together: {what}")
    return Conditioning(**{name: function(*(each[name] for each in named)) for name in kinds[0]})


@dataclass(frozen=True)
class Prompt:
    """A prompt: its text, and its conditioning, a batch of one.

    ``exact`` is False for a mixture or a perturbation, of which the text is only the nearest concept.
    """

    text: str
    conditioning: Conditioning
    exact: bool = True
