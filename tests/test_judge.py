from __future__ import annotations

import pytest
import torch
from torch import Tensor

from erasure.judge.judge import Judge, Query
from erasure.judge.judge_settings import JUDGE_SETTINGS, JudgeSettings, settings_for
from erasure.judge.scale import Scale
from erasure.judge.scores import Denoised, Probes, denoise, make_probes
from erasure.model.conditioning import Conditioning
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import run_to_end
from erasure.model.model import Model

SMALL = JudgeSettings(timesteps=(0.2, 0.6), drawing=DrawSettings(steps=2, guidance=3.0, batch=4))


class _Fulfilling:
    """Stands in for a model: predicts the noise exactly for the prompt whose state is 1, and no noise for 0."""

    device = torch.device("cpu")
    alphas_cumprod = torch.linspace(0.99, 0.01, 100)

    def __init__(self, noise: Tensor):
        self.noise = noise

    def frozen(self) -> object:
        from contextlib import nullcontext

        return nullcontext()

    def eps(self, z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        at = {10: 0, 50: 1}
        noise = torch.stack([self.noise[at[int(step)]] for step in t])
        return noise * conditioning.states[:, 0, 0].view(-1, 1, 1, 1)


def _prompt(value: float) -> Conditioning:
    return Conditioning(torch.full((1, 1, 1), value))


def test_a_prompt_that_predicts_the_noise_scores_1_and_one_half_way_0() -> None:
    noise = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    probes = Probes(noise, torch.tensor([10, 50]))
    model: Model = _Fulfilling(noise)  # type: ignore[assignment]
    found = denoise(model, torch.zeros(3, 4, 8, 8), [_prompt(0), _prompt(1), _prompt(2), _prompt(-1)], probes)
    assert found.errors.shape == (3, 4)
    # From 0 to c: 1 if c is the noise itself, 0 if it lies as far behind it, -1 and less away from it.
    assert torch.allclose(found.scores(), torch.tensor([[1.0, 0.0, -3.0]]).expand(3, 3), atol=1e-5)


def test_a_prompt_that_changes_nothing_scores_0() -> None:
    same = Denoised(errors=torch.ones(1, 2), moves=torch.zeros(1, 2))
    assert same.scores().tolist() == [[0.0]]


def test_scores_do_not_depend_on_the_pictures_beside(tiny_model: Model) -> None:
    probes = make_probes(tiny_model, SMALL.timesteps)
    latents = torch.randn((5, *tiny_model.latent_shape), generator=torch.Generator().manual_seed(3))
    prompts = [tiny_model.embed(["", "church", "dog"])[i] for i in range(3)]
    together = denoise(tiny_model, latents, prompts, probes)
    alone = torch.cat([denoise(tiny_model, latents[i : i + 1], prompts, probes).errors for i in range(5)])
    assert torch.allclose(together.errors, alone, atol=1e-4)


def test_judging_takes_the_rows_that_the_settings_say(tiny_model: Model) -> None:
    judge = Judge(tiny_model, SMALL)
    latents = run_to_end(judge.draw(["church", "dog"], [1, 2]))
    judge.own_scores(latents, [Query("church"), Query("dog")])
    assert tiny_model.rows.all.total == SMALL.rows(drawn=2, queries=2).total


def test_several_queries_about_a_picture_share_its_rest(tiny_model: Model) -> None:
    judge = Judge(tiny_model, SMALL)
    latents = torch.randn((2, *tiny_model.latent_shape), generator=torch.Generator().manual_seed(3))
    queries = [[Query("church"), Query("dog")], [Query("bell"), Query("church")]]
    both = judge.scores(latents, queries)
    assert both[0][1] == pytest.approx(judge.own_scores(latents[:1], [Query("dog")])[0], abs=1e-3)
    assert both[1][0] == pytest.approx(judge.own_scores(latents[1:], [Query("bell")])[0], abs=1e-3)


def test_the_judge_looks_with_the_frozen_model(tiny_model: Model) -> None:
    from erasure.lora.adapter import inject_lora, lora_parameters

    judge = Judge(tiny_model, SMALL)
    latents = torch.randn((1, *tiny_model.latent_shape), generator=torch.Generator().manual_seed(3))
    before = judge.own_scores(latents, [Query("church")])
    inject_lora(tiny_model.unet, "xattn", 2, 2.0, 0)
    with torch.no_grad():
        for weight in lora_parameters(tiny_model.unet):
            weight.fill_(0.3)
    assert judge.own_scores(latents, [Query("church")]) == pytest.approx(before, abs=1e-5)


def test_a_scale_is_made_of_the_models_own_pictures() -> None:
    scale = Scale.of([3.0, 2.0], [-1.0, 0.0])
    assert scale.level(2.5) == 1
    assert scale.level(-0.5) == 0
    assert scale.shows(1.1)
    assert not scale.shows(0.9)


def test_what_the_model_cannot_tell_is_never_shown() -> None:
    scale = Scale.of([0.2], [0.1])
    assert not scale.tells
    assert not scale.shows(100)


def test_styles_are_judged_where_there_is_most_noise() -> None:
    thing, style = settings_for(("{}", "a picture of a {}")), settings_for(("{}", "a picture of a house[ in {}]"))
    assert thing == JUDGE_SETTINGS
    assert min(style.timesteps) >= max(thing.timesteps)
    assert style.rows(1, 1) == thing.rows(1, 1)
