"""The Gumbel-Softmax search (Bui et al. 2024, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from erasure.config.settings import EraseConfig
from erasure.model.conditioning import Conditioning, Prompt
from erasure.training.adam_state import adam_tensors, load_adam_tensors, move_adam
from erasure.training.adversary.search import Adversary, Question


class GumbelSearch(Adversary):
    """Gradient ascent on logits pi through Gumbel-Softmax samples G(pi) (Jang et al. 2017), one pi per target.

    Adam on the logits as in the published code, which the paper's plain step pi + eta grad L2 leaves open. The
    logits start at 0: uniform, as any constant is.
    """

    def __init__(self, sizes: Sequence[int], config: EraseConfig, device: torch.device):
        self._steps = config.search_steps
        self._temperature = config.temperature
        self._hard = config.hard
        self.logits = nn.ParameterList([nn.Parameter(torch.zeros(size, device=device)) for size in sizes])
        self._optimizer = torch.optim.Adam(self.logits.parameters(), lr=config.search_rate, maximize=True)

    def find(self, question: Question, generator: Generator) -> list[Prompt]:
        used = [self.logits[i] for i in dict.fromkeys(question.targets)]
        for _ in range(self._steps):
            prompts = self._sample(question, generator)
            mixed = Conditioning.cat([prompt.conditioning for prompt in prompts])
            self._optimizer.zero_grad()
            gradients = torch.autograd.grad(mixed.tensors, used, question.harm(prompts).tensors)
            for logits, gradient in zip(used, gradients, strict=True):
                logits.grad = gradient
            self._optimizer.step()
        with torch.no_grad():
            return self._sample(question, generator)

    def _sample(self, question: Question, generator: Generator) -> list[Prompt]:
        prompts = []
        for i, among in zip(question.targets, question.candidates, strict=True):
            weights = gumbel_softmax(self.logits[i], self._temperature, self._hard, generator)
            mixture = among.conditioning.mix(weights)
            prompts.append(Prompt(among.texts[int(weights.argmax())], mixture, exact=self._hard))
        return prompts

    def probabilities(self, target: int) -> Tensor:
        """(K,) the chance of each candidate in a hard draw."""
        return torch.softmax(self.logits[target].detach(), dim=0)

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"logits.{i}": logits.detach().clone() for i, logits in enumerate(self.logits)}
        tensors.update({f"adam.{name}": value for name, value in adam_tensors(self._optimizer).items()})
        return tensors

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for i, logits in enumerate(self.logits):
                logits.copy_(tensors[f"logits.{i}"])
        moments = {name.removeprefix("adam."): value for name, value in tensors.items() if name.startswith("adam.")}
        load_adam_tensors(self._optimizer, moments)

    def move(self, device: torch.device | str) -> None:
        self.logits.to(device)
        move_adam(self._optimizer, device)


def gumbel_softmax(logits: Tensor, temperature: float, hard: bool, generator: Generator) -> Tensor:
    """A sample of G(pi), (K,); ``hard``: one-hot forward, the soft sample's gradient backward (straight-through).

    torch's own function draws from the global random state, which would tie a run's result to whatever else ran.
    """
    uniform = torch.rand(logits.shape, generator=generator).to(logits.device)
    tiny = torch.finfo(uniform.dtype).tiny
    gumbel = -torch.log(-torch.log(uniform.clamp_min(tiny)))
    soft = torch.softmax((logits + gumbel) / temperature, dim=0)
    if not hard:
        return soft
    one_hot = torch.zeros_like(soft).scatter_(0, soft.argmax(keepdim=True), 1.0)
    # The detached difference is exactly -soft in value, so the forward value is one-hot up to rounding; adding the
    # gradient path as (soft - soft.detach()) keeps it exactly one-hot.
    return one_hot + (soft - soft.detach())
