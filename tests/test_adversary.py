from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from erasure.config.settings import EraseConfig
from erasure.config.values import erase_config
from erasure.model.conditioning import Conditioning, Prompt
from erasure.training.adversary.choose import choose_adversary
from erasure.training.adversary.gumbel import GumbelSearch, gumbel_softmax
from erasure.training.adversary.pgd import PgdSearch
from erasure.training.adversary.search import Candidates, Question, UniformDraw

CPU = torch.device("cpu")
K = 5


def _config(**changes: object) -> EraseConfig:
    return erase_config(erase=("church",), **changes)


def _candidates() -> Candidates:
    # One-hot embeddings, so that a direction in embedding space is a candidate.
    embeddings = torch.eye(K).view(K, 1, K)
    return Candidates(Prompt("church", Conditioning(torch.ones(1, 1, K))), tuple("abcde"), Conditioning(embeddings))


def _towards(k: int) -> Any:
    """Harm that grows along candidate k alone."""

    def gradient(prompts: list[Prompt]) -> Conditioning:
        return Conditioning(torch.eye(K)[k].view(1, 1, K).expand(len(prompts), 1, K))

    return gradient


def test_hard_samples_are_one_hot_and_carry_the_soft_gradient() -> None:
    logits = torch.tensor([0.1, 0.4, -0.3], requires_grad=True)
    weights = gumbel_softmax(logits, 2.0, True, torch.Generator().manual_seed(3))
    assert sorted(weights.tolist()) == [0.0, 0.0, 1.0]
    soft = gumbel_softmax(logits, 2.0, False, torch.Generator().manual_seed(3))
    direction = torch.tensor([1.0, 2.0, 3.0])
    for_hard, for_soft = (torch.autograd.grad(w @ direction, logits)[0] for w in (weights, soft))
    torch.testing.assert_close(for_hard, for_soft)


def test_hard_samples_follow_the_logits_distribution() -> None:
    logits, g = torch.tensor([0.0, 1.0, 2.0]), torch.Generator().manual_seed(0)
    drawn = torch.stack([gumbel_softmax(logits, 0.5, True, g) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(drawn, torch.softmax(logits, 0), atol=0.03, rtol=0)


def test_search_finds_the_concept_that_is_hurt_most() -> None:
    search = GumbelSearch([K], _config(search_rate=0.1), CPU)
    g = torch.Generator().manual_seed(0)
    for _ in range(60):
        found = search.find(Question([0], [_candidates()], _towards(3)), g)
    assert int(search.probabilities(0).argmax()) == 3
    assert float(search.probabilities(0)[3]) > 0.5
    assert found[0].exact


def test_only_the_drawn_targets_logits_move() -> None:
    search = GumbelSearch([K, K], _config(search_rate=0.1), CPU)
    search.find(Question([1], [_candidates()], _towards(0)), torch.Generator().manual_seed(0))
    assert torch.equal(search.logits[0], torch.zeros(K))
    assert not torch.equal(search.logits[1], torch.zeros(K))


def test_soft_search_gives_a_mixture_that_says_so() -> None:
    search = GumbelSearch([K], _config(hard=False), CPU)
    (prompt,) = search.find(Question([0], [_candidates()], _towards(2)), torch.Generator().manual_seed(0))
    assert not prompt.exact
    assert 0 < prompt.conditioning.states.max() < 1
    torch.testing.assert_close(prompt.conditioning.states.sum(), torch.tensor(1.0))


def test_search_goes_on_from_its_saved_state() -> None:
    one, other = (GumbelSearch([K], _config(search_rate=0.1), CPU) for _ in range(2))
    g = torch.Generator().manual_seed(0)
    one.find(Question([0], [_candidates()], _towards(1)), g)
    other.load_tensors(one.tensors())
    for search in (one, other):
        search.find(Question([0], [_candidates()], _towards(1)), torch.Generator().manual_seed(7))
    assert torch.equal(one.logits[0], other.logits[0])


def test_uniform_draws_reach_every_candidate() -> None:
    draw = choose_adversary([K], _config(adversary="uniform"), CPU)
    assert isinstance(draw, UniformDraw)
    g = torch.Generator().manual_seed(0)
    texts = {draw.find(Question([0], [_candidates()], _towards(0)), g)[0].text for _ in range(100)}
    assert texts == set("abcde")


def test_pgd_moves_from_the_target_up_the_harm_and_stays_near() -> None:
    search = PgdSearch(_config(search_rate=0.05))
    g = torch.Generator().manual_seed(0)
    for _ in range(100):
        (prompt,) = search.find(Question([0], [_candidates()], _towards(4)), g)
    moved = prompt.conditioning.states - torch.ones(1, 1, K)
    assert int(moved.argmax()) == 4
    assert moved.norm() <= torch.ones(K).norm() * PgdSearch.RADIUS * 1.0001
    assert prompt.text == "church"
    assert not prompt.exact


class _KnownHarm:
    """Candidates whose harm is known: their number, at any latents."""

    def __init__(self) -> None:
        self.measured = 0

    def __call__(self, prompts: list[Prompt]) -> Conditioning:
        raise AssertionError("the rerank search takes no gradient")

    def measure(self, prompts: list[Prompt]) -> Tensor:
        self.measured += len(prompts)
        return torch.tensor([float(prompt.text) + 0.01 for prompt in prompts])


def _numbered(count: int) -> Candidates:
    texts = tuple(str(i) for i in range(count))
    return Candidates(Prompt("t", Conditioning(torch.zeros(1, 2, 3))), texts, Conditioning(torch.zeros(count, 2, 3)))


def test_reranking_draws_what_is_measured_as_hurt_more_often() -> None:
    config = erase_config(erase=("t",), adversary="rerank", temperature=1.0)
    search, harm = choose_adversary([4], config, torch.device("cpu")), _KnownHarm()
    generator = Generator().manual_seed(0)
    picks = [search.find(Question([0], [_numbered(4)], harm), generator)[0].text for _ in range(300)]
    late = picks[100:]
    assert late.count("3") > 1.5 * late.count("1")
    assert late.count("0") < 10
    assert harm.measured == 300 * 2 * config.search_steps


def test_reranking_goes_on_from_saved_tensors() -> None:
    config = erase_config(erase=("t", "u"), adversary="rerank", batch=2)
    one, other = (choose_adversary([4, 4], config, torch.device("cpu")) for _ in range(2))
    among = [_numbered(4), _numbered(4)]
    for step in range(5):
        one.find(Question([0, 1], among, _KnownHarm()), Generator().manual_seed(step))
    other.load_tensors(one.tensors())
    found = [s.find(Question([0, 1], among, _KnownHarm()), Generator().manual_seed(9)) for s in (one, other)]
    assert [p.text for p in found[0]] == [p.text for p in found[1]]
    assert all(torch.equal(one.tensors()[k], other.tensors()[k]) for k in one.tensors())
