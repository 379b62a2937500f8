"""AdvUnlearn: the prompt that brings a concept back best is found near it, and erased in its place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from erasure.config.values import config_from_dict
from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.training.adv_unlearn import AdvUnlearn
from erasure.training.adversary.hostile_prompt import hostile_prompts
from erasure.training.latents.source import LatentState, stack
from erasure.training.losses import prediction_loss
from erasure.training.solver import solver
from tests.latent_states import frozen_eps, random_states
from tests.spaces import space_of

FAST = {"steps": 4, "sampling_steps": 3, "warmup": 0, "rank": 2, "alpha": 8.0, "schedule": "constant", "batch": 2}


@pytest.fixture
def tuned(tiny_model: Model) -> Model:
    """A model with a LoRA as in the middle of a training."""
    inject_lora(tiny_model.unet, "xattn", 2, 8.0, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in lora_parameters(tiny_model.unet):
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return tiny_model


def _losses(model: Model, prompts: list[Prompt], states: list[LatentState], wanted: Tensor) -> Tensor:
    z, t = stack(states)
    with torch.no_grad():
        eps = model.eps(z, t, Conditioning.cat([prompt.conditioning for prompt in prompts]))
    return prediction_loss(eps, wanted, model.alphas_cumprod[t], "eps")


def test_a_hostile_prompt_brings_the_concept_back_better_and_stays_near(tuned: Model) -> None:
    prompts, states = [tuned.prompt("church"), tuned.prompt("a radio")], random_states(tuned, 2)
    wanted = frozen_eps(tuned, prompts, states)
    found = hostile_prompts(tuned, prompts, states, wanted, "eps", steps=8, rate=0.1, radius=0.3)
    assert [prompt.text for prompt in found] == ["church", "a radio"]
    assert not any(prompt.exact for prompt in found)
    assert bool((_losses(tuned, found, states, wanted) < _losses(tuned, prompts, states, wanted)).all())
    for prompt, start in zip(found, prompts, strict=True):
        way = (prompt.conditioning.states - start.conditioning.states).norm() / start.conditioning.states.norm()
        assert 0 < way <= 0.3 + 1e-5


def test_each_prompt_of_a_batch_is_attacked_for_itself(tuned: Model) -> None:
    prompts, states = [tuned.prompt("church"), tuned.prompt("a radio")], random_states(tuned, 2)
    wanted = frozen_eps(tuned, prompts, states)
    both = hostile_prompts(tuned, prompts, states, wanted, "eps", steps=3, rate=0.1)
    alone = hostile_prompts(tuned, prompts[1:], states[1:], wanted[1:], "eps", steps=3, rate=0.1)
    torch.testing.assert_close(both[1].conditioning.states, alone[0].conditioning.states, rtol=0, atol=0.02)


def test_an_update_erases_the_hostile_prompt_towards_the_concepts_own_goal(
    tuned: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_from_dict(
        {"erase": ["church"], "method": "adv-unlearn", "rehearsed": 0, **FAST, "batch": 1, "guidance": 1.0}
    )
    trainer = solver(tuned, space_of("church"), config)
    assert isinstance(trainer, AdvUnlearn)
    state = random_states(tuned, 1)[0]
    monkeypatch.setattr(trainer.source, "draw", lambda prompts, generator, **more: [state] * len(prompts))
    other = tuned.prompt("a small tower")  # stands for what an attack finds
    asked: list[str] = []

    def attack(model: Model, prompts: list[Prompt], *rest: object, **more: object) -> list[Prompt]:
        asked.extend(prompt.text for prompt in prompts)
        return [Prompt("church", other.conditioning, exact=False)]

    monkeypatch.setattr("erasure.training.adv_unlearn.hostile_prompts", attack)
    own, nothing = frozen_eps(tuned, [tuned.prompt("church")], [state]), frozen_eps(tuned, [tuned.prompt("")], [state])
    goal = nothing - (own - nothing)
    expected = float(_losses(tuned, [other], [state], goal))
    step = trainer.update()
    assert asked == ["church"]
    assert step.erased == ("church",)
    assert step.erase_loss == pytest.approx(expected, rel=1e-4)


def test_without_steps_of_attack_it_trains_the_concept_itself(tuned: Model) -> None:
    prompts, states = [tuned.prompt("church")], random_states(tuned, 1)
    found = hostile_prompts(tuned, prompts, states, frozen_eps(tuned, prompts, states), "eps", steps=0, rate=0.1)
    assert found[0].exact
    assert torch.equal(found[0].conditioning.states, prompts[0].conditioning.states)
