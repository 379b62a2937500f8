"""With a LoRA on the text encoder, each of the two models is told what its own text encoder says of a prompt."""

from __future__ import annotations

import pytest
import torch

from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.model.conditioning import Conditioning
from erasure.model.denoiser import Denoiser
from erasure.model.parts import ModelParts
from tests import tiny_xl
from tests.test_lora import randomise

ROWS = 3


@pytest.fixture(params=["SD 1.x", "SDXL"])
def parts(request: pytest.FixtureRequest, tiny_models: ModelParts) -> ModelParts:
    """With a LoRA on the U-Net."""
    found = tiny_models if request.param == "SD 1.x" else tiny_xl.build_tiny_xl()
    inject_lora(found.unet, "xattn_kv", 2, 2.0, seed=0)
    randomise(found.unet)
    return found


def told(parts: ModelParts, seed: int) -> Conditioning:
    random = torch.Generator().manual_seed(seed)
    states = torch.randn(ROWS, 77, parts.unet.config.cross_attention_dim, generator=random)
    xl = len(parts.texts) > 1
    return Conditioning(states, torch.randn(ROWS, tiny_xl.POOLED, generator=random) if xl else None)


def latents() -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(ROWS, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return z, torch.tensor([100, 500, 900])


def test_the_frozen_model_is_told_its_own_inside_its_block_alone(parts: ModelParts) -> None:
    model, tuned, frozen = Denoiser(parts.unet), told(parts, 1), told(parts, 2)
    at, both = latents(), tuned.beside(frozen)
    with torch.no_grad():
        assert torch.equal(model(*at, both), model(*at, tuned))
        with model.frozen():
            own = model(*at, frozen)
            assert torch.equal(model(*at, both), own)
            assert torch.equal(model(*at, frozen), own)  # a batch for one model
            with model.frozen_from(1):
                assert torch.equal(model(*at, both), own)
            assert torch.equal(model(*at, both), own)
        assert torch.equal(model(*at, both), model(*at, tuned))
        assert float((own - model(*at, frozen)).abs().max()) > 1e-3
        assert float((model(*at, tuned) - model(*at, frozen)).abs().max()) > 1e-3


def test_calls_that_are_split_are_told_the_same(parts: ModelParts) -> None:
    both, at = told(parts, 1).beside(told(parts, 2)), latents()
    whole, split = Denoiser(parts.unet), Denoiser(parts.unet, max_rows=2)
    with torch.no_grad():
        torch.testing.assert_close(split(*at, both), whole(*at, both), rtol=1e-4, atol=1e-4)
        with whole.frozen(), split.frozen():
            torch.testing.assert_close(split(*at, both), whole(*at, both), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_in_one_call_each_row_is_told_what_its_model_is(parts: ModelParts, first: int) -> None:
    model, both, at = Denoiser(parts.unet), told(parts, 1).beside(told(parts, 2)), latents()
    tuned = model(*at, both)
    with torch.no_grad(), model.frozen():
        frozen = model(*at, both)
    leaf = both.leaf()
    with model.frozen_from(first):
        found = model(*at, leaf)
        gradient = leaf.gradient(found.square().sum())
    torch.testing.assert_close(found, torch.cat([tuned[:first], frozen[first:]]), rtol=1e-4, atol=1e-4)
    assert gradient.frozen_states is not None
    of_rows = [states.flatten(1).abs().sum(1) > 0 for states in (gradient.states, gradient.frozen_states)]
    assert of_rows[0].tolist() == [row < first for row in range(ROWS)]
    assert of_rows[1].tolist() == [row >= first for row in range(ROWS)]


def test_a_block_that_fails_leaves_the_tuned_model(parts: ModelParts) -> None:
    model, both, at = Denoiser(parts.unet), told(parts, 1).beside(told(parts, 2)), latents()
    tuned = model(*at, both).detach()
    for block in (model.frozen, lambda: model.frozen_from(1)):
        with pytest.raises(RuntimeError, match="in the middle"), block():
            raise RuntimeError("in the middle")
        again = model(*at, both)
        assert torch.equal(again, tuned)
        assert all(each is not None for each in torch.autograd.grad(again.sum(), lora_parameters(parts.unet)))
