"""What a U-Net predicts, and how the noise and the picture are had from it, to the last noise level."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from emoji_sd import MODEL
from erasure.errors import UnsupportedCheckpoint
from erasure.model.build_parts import LEAST_ALPHA_BAR, noise_schedule
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.loading import load_parts
from erasure.model.model import open_model
from erasure.model.prediction import prediction_named
from erasure.model.sampling import ddim_step
from erasure.model.velocity import measured_prediction, noise_in
from tests import tiny, tiny_sd2

SHAPE = (5, 4, 8, 8)


def schedule(*, zero_snr: bool = False) -> torch.Tensor:
    return noise_schedule({**tiny.SCHEDULE, "rescale_betas_zero_snr": zero_snr}, "here").float()


def mixed(alpha_bar: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x0, eps, z and v at these noise levels."""
    generator = torch.Generator().manual_seed(3)
    x0, eps = torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)
    a = alpha_bar.view(-1, 1, 1, 1)
    return x0, eps, a.sqrt() * x0 + (1 - a).sqrt() * eps, a.sqrt() * eps - (1 - a).sqrt() * x0


@pytest.mark.parametrize("zero_snr", [False, True])
def test_noise_and_picture_come_back_from_the_velocity(zero_snr: bool) -> None:
    alpha_bar = schedule(zero_snr=zero_snr)[[0, 300, 700, 981, 999]]
    x0, eps, z, v = mixed(alpha_bar)
    found = noise_in(v, z, alpha_bar, "v_prediction")
    torch.testing.assert_close(found, eps, rtol=0, atol=1e-5)
    # A step to no noise is the picture itself. At the last level rounding is divided by the root of 2**-24.
    picture = ddim_step(z, found, alpha_bar, torch.ones(len(z)))
    torch.testing.assert_close(picture, x0, rtol=0, atol=5e-3)
    assert noise_in(eps, z, alpha_bar, "epsilon") is eps


def test_half_precision_is_turned_into_noise_in_full() -> None:
    alpha_bar = schedule()[[0, 300, 700, 981, 999]]
    _, _, z, v = mixed(alpha_bar)
    found = noise_in(v.half(), z, alpha_bar, "v_prediction")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, noise_in(v.half().float(), z, alpha_bar, "v_prediction"))


def test_the_stretched_schedule_is_that_of_diffusers_but_for_its_end() -> None:
    ours, theirs = schedule(zero_snr=True), DDIMScheduler(**tiny.SCHEDULE, rescale_betas_zero_snr=True).alphas_cumprod
    torch.testing.assert_close(ours[:-1], theirs[:-1], rtol=1e-4, atol=1e-6)
    assert float(theirs[-1]) == 0
    assert float(ours[-1]) == LEAST_ALPHA_BAR
    assert bool((ours.diff() < 0).all())
    assert bool(((1 - ours) < 1).all())


@pytest.mark.parametrize("word", ["v", "v_prediction"])
def test_the_words_of_ldm_and_diffusers_mean_the_same(word: str) -> None:
    assert prediction_named(word, "here") == "v_prediction"


def test_other_words_are_refused() -> None:
    with pytest.raises(UnsupportedCheckpoint, match=r"predicts the picture \(x0\)"):
        prediction_named("x0", "here")


def test_pure_noise_tells_what_is_predicted() -> None:
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    mean = 0.3 * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))  # of the pictures
    a = schedule()[-1]
    assert measured_prediction((1 - a).sqrt() * z, z) == "epsilon"
    assert measured_prediction(a.sqrt() * z - (1 - a).sqrt() * mean, z) == "v_prediction"


@torch.no_grad()
def test_a_model_that_predicts_noise_is_measured_so() -> None:
    parts = load_parts(MODEL)
    z = torch.randn(1, *parts.latents_of(), generator=torch.Generator().manual_seed(0))
    ids = parts.tokenizer([""], padding="max_length", truncation=True, return_tensors="pt").input_ids
    output = parts.unet(z, 999, encoder_hidden_states=parts.text_encoder(ids).last_hidden_state).sample
    assert float((output * z).sum() / (z * z).sum()) > 0.9
    assert measured_prediction(output, z) == "epsilon"


@torch.no_grad()
@pytest.mark.parametrize("zero_snr", [False, True])
def test_it_draws_what_diffusers_draws(zero_snr: bool, tmp_path: Path) -> None:
    folder = tiny_sd2.diffusers_folder(tmp_path / "model", "v_prediction", zero_snr=zero_snr)
    model = open_model(inspect_checkpoint(folder))
    assert model.parts.prediction_type == "v_prediction"
    noise = torch.stack([model.noise(torch.Generator().manual_seed(seed)) for seed in (1, 2)])
    ours = model.sample(model.embed(["a church", "a dog"]), noise, steps=4, guidance=3.0)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", set_alpha_to_one=False)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, scheduler=scheduler, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        ["a church", "a dog"], latents=noise, num_inference_steps=4, guidance_scale=3.0, output_type="latent"
    ).images
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3 * float(theirs.abs().max()))


@torch.no_grad()
def test_the_last_noise_level_without_picture_gives_finite_numbers(tmp_path: Path) -> None:
    model = open_model(inspect_checkpoint(tiny_sd2.diffusers_folder(tmp_path / "model", "v_prediction", zero_snr=True)))
    z, t = model.noise(torch.Generator().manual_seed(1))[None], torch.tensor([999])
    eps = model.eps(z, t, model.embed(["a church"]))
    v = model.unet(z, t, encoder_hidden_states=model.embed(["a church"]).states).sample
    torch.testing.assert_close(eps, z, rtol=0, atol=1e-2)
    picture = ddim_step(z, eps, model.alphas_cumprod[t], torch.ones(1))
    torch.testing.assert_close(picture, -v, rtol=0, atol=1e-2)
