"""Gradients with the adapter on and off: one U-Net serves both views in one update."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from erasure.lora.adapter import inject_lora, lora_layers, lora_parameters, lora_weight, without_lora, without_lora_from
from erasure.model.parts import ModelParts
from tests.test_lora import randomise


def predict(unet: UNet2DConditionModel, context: Tensor) -> Tensor:
    """Predicted noise (1, 4, 16, 16) with a graph; at this size no attention is over a single pixel."""
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    eps: Tensor = unet(latents.to(unet.dtype), torch.tensor([500]), context.to(unet.dtype)).sample
    return eps


@pytest.fixture
def context() -> Tensor:
    return torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(8))


def test_lora_is_fp32_on_a_bf16_base_and_every_weight_gets_a_gradient(tiny_models: ModelParts, context: Tensor) -> None:
    unet = tiny_models.unet.to(torch.bfloat16)
    inject_lora(unet, "full", 2, 2.0, seed=0)
    randomise(unet)
    parameters = lora_parameters(unet)
    assert {weight.dtype for weight in parameters} == {torch.float32}
    assert unet.dtype == torch.bfloat16
    eps = predict(unet, context)
    assert eps.dtype == torch.bfloat16
    gradients = torch.autograd.grad(eps.float().square().mean(), parameters)
    assert all(bool(gradient.isfinite().all()) and bool(gradient.any()) for gradient in gradients)


def test_backward_inside_the_frozen_block_still_reaches_an_earlier_graph(
    tiny_models: ModelParts, context: Tensor
) -> None:
    unet = tiny_models.unet
    inject_lora(unet, "xattn", 2, 2.0, seed=0)
    randomise(unet)
    parameters = lora_parameters(unet)
    wanted = torch.autograd.grad(predict(unet, context).square().mean(), parameters)
    loss = predict(unet, context).square().mean()
    with without_lora(unet):
        assert not predict(unet, context).requires_grad
        loss.backward()
    for weight, gradient in zip(parameters, wanted, strict=True):
        assert weight.grad is not None
        assert torch.equal(weight.grad, gradient)


def test_checkpointed_frozen_pass_has_the_frozen_models_gradient(tiny_models: ModelParts, context: Tensor) -> None:
    unet = tiny_models.unet.train()
    context.requires_grad_()
    (wanted,) = torch.autograd.grad(predict(unet, context).square().mean(), context)
    inject_lora(unet, "full", 2, 2.0, seed=0)
    randomise(unet)
    (tuned,) = torch.autograd.grad(predict(unet, context).square().mean(), context)
    unet.enable_gradient_checkpointing()
    with without_lora(unet):
        (frozen,) = torch.autograd.grad(predict(unet, context).square().mean(), context)
    torch.testing.assert_close(frozen, wanted)
    assert not torch.allclose(tuned, wanted, rtol=0.1)


@pytest.mark.parametrize("weight", [-1.0, 0.5, 2.0])
def test_a_layer_changes_in_proportion_to_the_weight(tiny_models: ModelParts, weight: float) -> None:
    inject_lora(tiny_models.unet, "full", 2, 3.0, seed=0)
    randomise(tiny_models.unet)
    layer: Any = lora_layers(tiny_models.unet)["conv_in"]
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tuned = layer(latents)
        with without_lora(tiny_models.unet):
            frozen = layer(latents)
        with lora_weight(tiny_models.unet, weight):
            changed = layer(latents)
    torch.testing.assert_close(changed - frozen, weight * (tuned - frozen), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", ["xattn", "full"])
def test_one_call_holds_the_tuned_and_the_frozen_model(tiny_models: ModelParts, context: Tensor, layers: str) -> None:
    unet = tiny_models.unet
    inject_lora(unet, layers, 2, 2.0, seed=0)  # type: ignore[arg-type]
    randomise(unet)
    tuned = predict(unet, context)
    with without_lora(unet):
        frozen = predict(unet, context)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7)).repeat(2, 1, 1, 1)
    with without_lora_from(unet, 1):
        both = unet(latents, torch.tensor([500, 500]), context.repeat(2, 1, 1)).sample
    torch.testing.assert_close(both, torch.cat([tuned, frozen]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(tuned, frozen, atol=1e-3)
    torch.testing.assert_close(predict(unet, context), tuned)
