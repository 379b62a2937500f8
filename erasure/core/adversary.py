"""The adversary: finds the concept that erasing hurts most (Bui et al. 2024, Algorithm 1).

The searches share one form: ``find`` gives one prompt per target, and asks ``harm(prompts)`` for the gradient of the
mean L2 of Eq. 5 in the prompts' embeddings, or measures L2 itself. What a search has learnt is kept across updates, so
that its steps add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from erasure.config import EraseConfig
from erasure.core.embedding import Prompt


class HarmSource(Protocol):
    """What a search may ask about prompts; see :class:`erasure.core.harm.Harm`."""

    def __call__(self, prompts: list[Prompt], /) -> Tensor:
        """(b, 77, d): d mean(L2) / d embedding, for b prompts."""

    def measure(self, prompts: list[Prompt], /) -> Tensor:
        """(b,): L2 of each, without a gradient."""


@dataclass(frozen=True)
class Candidates:
    """The members of R for one target: K texts and their embeddings (K, 77, d); and the target itself."""

    target: Prompt
    texts: tuple[str, ...]
    embeddings: Tensor

    def __getitem__(self, k: int) -> Prompt:
        return Prompt(self.texts[k], self.embeddings[k])


class Adversary(Protocol):
    def find(
        self,
        targets: Sequence[int],
        candidates: Sequence[Candidates],
        harm: HarmSource,
        generator: Generator,
    ) -> list[Prompt]:
        """One concept to preserve per entry of ``targets`` (indices of targets); ``candidates`` are theirs."""

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs to search on."""

    def load_tensors(self, tensors: dict[str, Tensor]) -> None: ...


def adversary(sizes: Sequence[int], config: EraseConfig, device: torch.device) -> Adversary:
    """The search that the config names; ``sizes``: K per target."""
    if config.adversary == "gumbel":
        return GumbelSearch(sizes, config, device)
    if config.adversary == "pgd":
        return PgdSearch(config)
    if config.adversary == "rerank":
        from erasure.core.rerank import RerankSearch

        return RerankSearch(sizes, config)
    return UniformDraw() if config.adversary == "uniform" else NoSearch()


class NoSearch:
    """Nothing is looked for among the candidates: what is preserved, if anything, is given."""

    def find(
        self,
        targets: Sequence[int],
        candidates: Sequence[Candidates],
        harm: HarmSource,
        generator: Generator,
    ) -> list[Prompt]:
        return []

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        pass


class UniformDraw:
    """The control: any candidate, each as likely as the others."""

    def find(
        self,
        targets: Sequence[int],
        candidates: Sequence[Candidates],
        harm: HarmSource,
        generator: Generator,
    ) -> list[Prompt]:
        return [c[int(torch.randint(len(c.texts), (), generator=generator))] for c in candidates]

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        pass


class GumbelSearch:
    """Gradient ascent on logits pi through Gumbel-Softmax samples G(pi) (Jang et al. 2017), one pi per target.

    Adam on the logits as in the published code, which the paper's plain step pi + eta grad L2 leaves open. The
    logits start at 0: uniform, as any constant is.
    """

    def __init__(self, sizes: Sequence[int], config: EraseConfig, device: torch.device):
        self._steps = config.search_steps
        self._temperature = config.temperature
        self._hard = config.hard
        self.logits = [torch.zeros(size, device=device, requires_grad=True) for size in sizes]
        self._optimizer = torch.optim.Adam(self.logits, lr=config.search_rate, maximize=True)

    def find(
        self,
        targets: Sequence[int],
        candidates: Sequence[Candidates],
        harm: HarmSource,
        generator: Generator,
    ) -> list[Prompt]:
        used = [self.logits[i] for i in dict.fromkeys(targets)]
        for _ in range(self._steps):
            prompts = self._sample(targets, candidates, generator)
            embeddings = torch.stack([prompt.embedding for prompt in prompts])
            self._optimizer.zero_grad()
            gradients = torch.autograd.grad(embeddings, used, harm(prompts))
            for logits, gradient in zip(used, gradients, strict=True):
                logits.grad = gradient
            self._optimizer.step()
        with torch.no_grad():
            return self._sample(targets, candidates, generator)

    def _sample(self, targets: Sequence[int], candidates: Sequence[Candidates], generator: Generator) -> list[Prompt]:
        prompts = []
        for i, among in zip(targets, candidates, strict=True):
            weights = gumbel_softmax(self.logits[i], self._temperature, self._hard, generator)
            embedding = torch.einsum("k,knd->nd", weights, among.embeddings)
            prompts.append(Prompt(among.texts[int(weights.argmax())], embedding, exact=self._hard))
        return prompts

    def probabilities(self, target: int) -> Tensor:
        """(K,) the chance of each candidate in a hard draw."""
        return torch.softmax(self.logits[target].detach(), dim=0)

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"logits.{i}": logits.detach().clone() for i, logits in enumerate(self.logits)}
        for number, moments in self._optimizer.state_dict()["state"].items():
            tensors.update({f"adam.{number}.{name}": torch.as_tensor(value).clone() for name, value in moments.items()})
        return tensors

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for i, logits in enumerate(self.logits):
                logits.copy_(tensors[f"logits.{i}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, number, name = key.split(".", 2)
                moments.setdefault(int(number), {})[name] = value
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})


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


class PgdSearch:
    """Projected gradient ascent on the embedding itself, from the target's own (the paper's rejected alternative).

    A step moves by ``search_rate`` times the norm of the start; the whole way is bounded by ``RADIUS`` times it.
    """

    RADIUS = 1.0

    def __init__(self, config: EraseConfig):
        self._steps = config.search_steps
        self._rate = config.search_rate
        self._moved: dict[int, Tensor] = {}

    def find(
        self,
        targets: Sequence[int],
        candidates: Sequence[Candidates],
        harm: HarmSource,
        generator: Generator,
    ) -> list[Prompt]:
        # Several draws of one target in a batch share its perturbation.
        start = {i: among.target for i, among in zip(targets, candidates, strict=True)}
        for _ in range(self._steps):
            gradients = harm([self._prompt(i, start[i]) for i in targets])
            for i, prompt in start.items():
                own = torch.stack([g for j, g in zip(targets, gradients, strict=True) if j == i]).sum(dim=0)
                delta = self._moved.get(i, torch.zeros_like(own))
                self._moved[i] = self._projected(delta, own, prompt.embedding.norm())
        return [self._prompt(i, start[i]) for i in targets]

    def _prompt(self, i: int, start: Prompt) -> Prompt:
        moved = self._moved.get(i)
        return Prompt(start.text, start.embedding if moved is None else start.embedding + moved, exact=False)

    def _projected(self, delta: Tensor, gradient: Tensor, norm: Tensor) -> Tensor:
        delta = delta + self._rate * norm * gradient / gradient.norm().clamp_min(1e-20)
        return delta * (self.RADIUS * norm / delta.norm().clamp_min(1e-20)).clamp(max=1.0)

    def tensors(self) -> dict[str, Tensor]:
        return {f"moved.{i}": delta.clone() for i, delta in self._moved.items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._moved = {int(name.split(".")[1]): delta for name, delta in tensors.items()}
