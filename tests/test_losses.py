from __future__ import annotations

import pytest
import torch
from packaging.version import Version

from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.model.conditioning import Conditioning
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.gradient_scale import search_scale
from erasure.training.losses import erase_goal, harm_gradient, prediction_loss


def _rows(seed: int, model: Model) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    width = model.unet.config.cross_attention_dim
    return (
        torch.randn(2, 4, 16, 16, generator=g),
        torch.tensor([100, 700]),
        torch.randn(2, 77, width, generator=g),
    )


def _tune(model: Model) -> None:
    inject_lora(model.unet, "xattn", 4, 4.0, seed=0)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in lora_parameters(model.unet):
            weight.copy_(0.2 * torch.randn(weight.shape, generator=g))


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
def test_harm_gradient_is_that_of_both_branches(tiny_model: Model, space: str, checkpointing: bool) -> None:
    _tune(tiny_model)
    z, t, states = _rows(2, tiny_model)
    alpha_bar = tiny_model.alphas_cumprod[t]
    c = states.clone().requires_grad_()
    tuned = tiny_model.eps(z, t, Conditioning(c))
    with tiny_model.frozen():
        frozen = tiny_model.eps(z, t, Conditioning(c))
    plain = (tuned - frozen).square().mean(dim=(1, 2, 3))
    weight = (1 - alpha_bar) / alpha_bar if space == "x0" else 1.0
    (expected,) = torch.autograd.grad((plain * weight).mean(), c)
    if checkpointing:
        tiny_model.unet.enable_gradient_checkpointing()
        tiny_model.unet.train()
    found = harm_gradient(tiny_model, z, t, Conditioning(states), space)  # type: ignore[arg-type]
    torch.testing.assert_close(found.states, expected, rtol=1e-4, atol=1e-7)
    assert all(weight.grad is None for weight in lora_parameters(tiny_model.unet))


@pytest.mark.skipif(Version(torch.__version__) < Version("2.4"), reason="this torch has no fp16 on a CPU")
def test_in_fp16_a_search_goes_where_it_goes_in_fp32(tiny_models: ModelParts) -> None:
    """With latents so large that one value has little of a share in the mean."""
    model = Model(tiny_models)
    inject_lora(model.unet, "xattn", 4, 4.0, seed=0)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in lora_parameters(model.unet):
            weight.copy_(0.03 * torch.randn(weight.shape, generator=g))
    z, t = torch.randn(1, 4, 32, 32, generator=g), torch.tensor([500])
    conditioning = model.embed(["church"])
    whole = harm_gradient(model, z, t, conditioning, "eps").states
    lora = [weight.detach().clone() for weight in lora_parameters(model.unet)]
    model.unet.half()
    for weight, value in zip(lora_parameters(model.unet), lora, strict=True):
        weight.data = value  # these stay in fp32
    assert model.dtype == torch.float16
    half = harm_gradient(model, z, t, conditioning, "eps").states
    assert float(torch.cosine_similarity(half.flatten(), whole.flatten(), 0)) > 0.98
    assert float(half.norm() / whole.norm()) == pytest.approx(1, abs=0.1)


def test_a_gradient_is_the_same_at_any_scale_and_nothing_where_it_overflows() -> None:
    leaf = Conditioning(torch.tensor([[[1.0, 2.0]]])).leaf()
    assert leaf.gradient(leaf.states.square().sum(), 1024.0).states.tolist() == [[[2.0, 4.0]]]
    wild = Conditioning(torch.tensor([[[1.0, 2.0]]])).leaf()
    value = (wild.states * torch.tensor([1e30, 1.0])).sum()
    assert wild.gradient(value, 1e30).states.tolist() == [[[0.0, 1.0]]]
    assert search_scale(torch.float16, torch.zeros(2, 4, 64, 64)) == 4 * 64 * 64
    assert search_scale(torch.bfloat16, torch.zeros(2, 4, 64, 64)) == 1
