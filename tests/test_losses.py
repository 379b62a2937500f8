from __future__ import annotations

import pytest
import torch

from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.model.denoiser import Denoiser
from erasure.model.models import Models
from erasure.training.losses import erase_goal, harm_gradient, prediction_loss


def _rows(seed: int, models: Models) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    width = models.unet.config.cross_attention_dim
    return (
        torch.randn(2, 4, 16, 16, generator=g),
        torch.tensor([100, 700]),
        torch.randn(2, 77, width, generator=g),
    )


def _tuned(models: Models) -> Denoiser:
    inject_lora(models.unet, "xattn", 4, 4.0, seed=0)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in lora_parameters(models.unet):
            weight.copy_(0.2 * torch.randn(weight.shape, generator=g))
    return Denoiser(models.unet)


def test_without_guidance_the_goal_is_the_anchor() -> None:
    anchor, target = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    assert torch.equal(erase_goal(anchor, target, 0.0), anchor)


def test_guidance_pushes_past_the_anchor_away_from_the_target() -> None:
    anchor, target = torch.zeros(1, 4, 8, 8), torch.ones(1, 4, 8, 8)
    assert torch.equal(erase_goal(anchor, target, 1.5), torch.full_like(anchor, -1.5))


def test_x0_loss_is_the_difference_of_predicted_clean_latents() -> None:
    z, eps, goal = torch.randn(3, 2, 4, 8, 8).unbind()
    alpha_bar = torch.tensor([0.9, 0.2])
    a = alpha_bar.view(-1, 1, 1, 1)
    x0, goal_x0 = ((z - (1 - a).sqrt() * e) / a.sqrt() for e in (eps, goal))
    expected = (x0 - goal_x0).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(prediction_loss(eps, goal, alpha_bar, "x0"), expected)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("space", ["eps", "x0"])
def test_harm_gradient_is_that_of_both_branches(tiny_models: Models, space: str, checkpointing: bool) -> None:
    denoiser = _tuned(tiny_models)
    z, t, embedding = _rows(2, tiny_models)
    alpha_bar = tiny_models.alphas_cumprod[t]
    c = embedding.clone().requires_grad_()
    tuned = denoiser(z, t, c)
    with denoiser.frozen():
        frozen = denoiser(z, t, c)
    plain = (tuned - frozen).square().mean(dim=(1, 2, 3))
    weight = (1 - alpha_bar) / alpha_bar if space == "x0" else 1.0
    (expected,) = torch.autograd.grad((plain * weight).mean(), c)
    if checkpointing:
        tiny_models.unet.enable_gradient_checkpointing()
        tiny_models.unet.train()
    found = harm_gradient(denoiser, z, t, embedding, alpha_bar, space)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    assert all(weight.grad is None for weight in lora_parameters(tiny_models.unet))
