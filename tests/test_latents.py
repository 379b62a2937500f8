from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from erasure.config.settings import EraseConfig
from erasure.config.values import erase_config
from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.model.model import Model
from erasure.model.sampling import ddim_timesteps
from erasure.training.latents.fresh import FreshLatents
from erasure.training.latents.noised_latents import PictureLatents
from erasure.training.latents.replay import ReplayLatents


def _tuned(model: Model) -> Model:
    inject_lora(model.unet, "xattn", 4, 4.0, seed=0)
    with torch.no_grad():
        for weight in lora_parameters(model.unet):
            weight.fill_(0.05)
    return model


def _config(**changes: object) -> EraseConfig:
    return erase_config(erase=("church",), sampling_steps=4, **changes)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_replayed_states_carry_the_frozen_models_predictions(tiny_model: Model) -> None:
    model = _tuned(tiny_model)
    prompts = [model.prompt("dog"), model.prompt("cat")]
    states = ReplayLatents(model, _config()).draw(prompts, _seeded(0), tuned=False)
    for prompt, state in zip(prompts, states, strict=True):
        t = torch.tensor([state.t])
        with model.frozen(), torch.no_grad():
            eps = model.eps(state.z[None], t, prompt.conditioning)[0]
            null = model.eps(state.z[None], t, model.embed([""]))[0]
        # kept in fp16
        torch.testing.assert_close(state.eps, eps, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(state.eps_null, null, atol=2e-3, rtol=2e-3)


def test_a_known_trajectory_costs_nothing_more(tiny_model: Model) -> None:
    model = _tuned(tiny_model)
    source = ReplayLatents(model, _config(reuse=1000))
    g = _seeded(0)
    for _ in range(30):
        source.draw([model.prompt("dog")], g, tuned=False)
    whole = model.rows.all.total
    assert whole <= 2 * 4
    for _ in range(30):
        source.draw([model.prompt("dog")], g, tuned=False)
    assert model.rows.all.total == whole


def test_a_trajectory_ends_after_its_uses(tiny_model: Model) -> None:
    model = _tuned(tiny_model)
    source, g = ReplayLatents(model, _config(reuse=2)), _seeded(0)
    noises = []
    for _ in range(4):
        source.draw([model.prompt("dog")], g, tuned=False)
        noises.append(next(iter(source._known.values())).z[0])
    assert torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[1], noises[2])


def test_tuned_trajectories_follow_the_tuned_model(tiny_model: Model) -> None:
    model = _tuned(tiny_model)

    def last(tuned: bool) -> Tensor:
        source, g = ReplayLatents(model, _config(reuse=1000)), _seeded(1)
        states = [source.draw([model.prompt("dog")], g, tuned=tuned)[0] for _ in range(20)]
        return min(states, key=lambda state: state.t).z

    assert not torch.allclose(last(True), last(False), atol=1e-3)


def test_two_draws_of_one_prompt_share_its_trajectory(tiny_model: Model) -> None:
    model = _tuned(tiny_model)
    ReplayLatents(model, _config(reuse=1000)).draw([model.prompt("dog")] * 8, _seeded(0), tuned=False)
    assert model.rows.all.total <= 2 * 4


def test_a_replay_restored_from_its_tensors_draws_the_same(tiny_model: Model) -> None:
    model = _tuned(tiny_model)
    one, other, g = ReplayLatents(model, _config()), ReplayLatents(model, _config()), _seeded(0)
    prompts = [model.prompt(text) for text in ("dog", "a dog. with dots", "house")]
    for i in range(5):
        one.draw(prompts[: i % 3 + 1], g, tuned=i % 2 == 0)
    other.load_tensors(one.tensors())
    a, b = (source.draw(prompts, _seeded(9), tuned=False) for source in (one, other))
    for x, y in zip(a, b, strict=True):
        assert x.t == y.t
        assert torch.equal(x.z, y.z)
        assert x.eps is not None
        assert y.eps is not None
        assert torch.equal(x.eps, y.eps)


def test_fresh_draws_are_plain_ddim_of_the_tuned_model_to_a_random_step(tiny_model: Model) -> None:
    model = _tuned(tiny_model)
    (state,) = FreshLatents(model, _config()).draw([model.prompt("dog")], _seeded(5), tuned=True)
    g = _seeded(5)
    reached = int(torch.randint(4, (), generator=g))
    noise = torch.randn((4, 8, 8), generator=g)[None]
    z = model.sample(model.embed(["dog"]), noise, steps=4, guidance=3.0, stop=4 - reached)
    assert state.t == ddim_timesteps(4, 1000)[reached]
    assert torch.equal(state.z, z[0])


@pytest.mark.parametrize("source", [FreshLatents, PictureLatents])
def test_several_prompts_are_sampled_together_as_they_are_one_by_one(tiny_model: Model, source: Any) -> None:
    model = _tuned(tiny_model)
    prompts = [model.prompt(text) for text in ("dog", "a house", "dog")]
    alone, together = source(model, _config(reuse=1)), source(model, _config(reuse=1))
    g = _seeded(8)
    one_by_one = [alone.draw([prompt], g, tuned=True)[0] for prompt in prompts]
    apart = model.rows["other"]
    states = together.draw(prompts, _seeded(8), tuned=True)
    both = model.rows["other"]
    assert both.total == 2 * apart.total > 0
    assert both.calls - apart.calls < apart.calls
    for state, wanted in zip(states, one_by_one, strict=True):
        assert state.t == wanted.t
        torch.testing.assert_close(state.z, wanted.z, atol=5e-3, rtol=5e-3)


def test_a_picture_that_could_not_be_drawn_is_not_remembered(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PictureLatents(tiny_model, _config())

    def full(*given: Any) -> Any:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(tiny_model, "eps", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        source.draw([tiny_model.prompt("dog")], _seeded(0), tuned=False)
    assert source.tensors() == {}
