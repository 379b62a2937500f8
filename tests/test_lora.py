"""The adapter on the U-Net: which layers, what it changes, and that it comes off without a trace."""

from __future__ import annotations

import copy
from typing import Any, get_args

import pytest
import torch
from diffusers import UNet2DConditionModel

from erasure.config.settings import LayerChoice
from erasure.errors import LoraFileError
from erasure.lora.adapter import (
    inject_lora,
    inject_lora_state,
    load_lora_state,
    lora_layers,
    lora_parameters,
    lora_state,
    lora_weight,
    remove_lora,
    without_lora,
)
from erasure.lora.layer_choice import base_layers, layer_names, smallest_choice
from erasure.model.parts import ModelParts
from tests import tiny

CHOICES = get_args(LayerChoice)


def randomise(unet: torch.nn.Module, seed: int = 1) -> dict[str, torch.Tensor]:
    """Non-zero weights in every layer of the adapter; returns them."""
    generator = torch.Generator().manual_seed(seed)
    state = {key: torch.randn(value.shape, generator=generator) * 0.1 for key, value in lora_state(unet).items()}
    load_lora_state(unet, state)
    return state


@torch.no_grad()
def predict(unet: UNet2DConditionModel, seed: int = 0) -> torch.Tensor:
    """Predicted noise (2, 4, 8, 8) for fixed random inputs."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, 4, 8, 8, generator=generator)
    prompt = torch.randn(2, 77, unet.config.cross_attention_dim, generator=generator)
    eps: torch.Tensor = unet(z, torch.tensor([500, 20]), prompt).sample
    return eps


@pytest.fixture(scope="module")
def full_size() -> UNet2DConditionModel:
    with torch.device("meta"):
        return tiny.build_unet(tiny.full_size_config["unet"])


@pytest.mark.parametrize(
    ("layers", "count"),
    [("xattn", 64), ("xattn_kv", 32), ("xattn_v", 16), ("selfattn", 64), ("noxattn", 215), ("full", 282)],
)
def test_layer_counts_of_stable_diffusion_1(full_size: UNet2DConditionModel, layers: LayerChoice, count: int) -> None:
    assert len(layer_names(full_size, layers)) == count


def test_every_layer_choice_has_a_count_here() -> None:
    assert set(CHOICES) == {"xattn", "xattn_kv", "xattn_v", "selfattn", "noxattn", "full"}


@pytest.mark.parametrize("layers", get_args(LayerChoice))
def test_the_smallest_choice_that_has_some_layers_is_found_by_paths_and_by_keys(
    full_size: UNet2DConditionModel, layers: LayerChoice
) -> None:
    paths = layer_names(full_size, layers)
    assert smallest_choice(paths) == layers
    assert smallest_choice(path.replace(".", "_") for path in paths) == layers


@pytest.mark.parametrize("layer", ["time_embedding.linear_1", "conv_out", "mid_block.attentions.0.proj_in"])
def test_layers_beside_cross_attention_need_all(layer: str) -> None:
    names = ["mid_block.attentions.0.transformer_blocks.0.attn2.to_q", layer]
    assert smallest_choice(names) == smallest_choice(name.replace(".", "_") for name in names) == "full"


def test_unknown_layer_choice_is_refused(full_size: UNet2DConditionModel) -> None:
    with pytest.raises(ValueError, match="choose one of"):
        layer_names(full_size, "everything")  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", CHOICES)
def test_adapter_is_on_the_chosen_layers_alone(tiny_models: ModelParts, layers: LayerChoice) -> None:
    names = layer_names(tiny_models.unet, layers)
    inject_lora(tiny_models.unet, layers, rank=2, alpha=1.0, seed=0)
    assert tuple(lora_layers(tiny_models.unet)) == names
    trained = {id(weight) for weight in lora_parameters(tiny_models.unet)}
    assert {id(weight) for weight in tiny_models.unet.parameters() if weight.requires_grad} == trained


def test_new_adapter_changes_nothing(tiny_models: ModelParts) -> None:
    before = predict(tiny_models.unet)
    inject_lora(tiny_models.unet, "full", rank=2, alpha=1.0, seed=0)
    assert torch.equal(predict(tiny_models.unet), before)


@pytest.mark.parametrize("layers", CHOICES)
def test_without_lora_is_the_base_bit_for_bit(tiny_models: ModelParts, layers: LayerChoice) -> None:
    unet = tiny_models.unet
    before = predict(unet)
    inject_lora(unet, layers, rank=2, alpha=1.0, seed=0)
    randomise(unet)
    tuned = predict(unet)
    assert not torch.allclose(tuned, before, atol=1e-3)
    with without_lora(unet):
        assert torch.equal(predict(unet), before)
    assert torch.equal(predict(unet), tuned)


def test_without_lora_ends_when_its_block_fails(tiny_models: ModelParts) -> None:
    unet = tiny_models.unet
    inject_lora(unet, "xattn", rank=2, alpha=1.0, seed=0)
    randomise(unet)
    tuned = predict(unet)
    with pytest.raises(RuntimeError, match="on purpose"), without_lora(unet):
        raise RuntimeError("on purpose")
    assert torch.equal(predict(unet), tuned)


def test_remove_lora_restores_the_very_same_modules(tiny_models: ModelParts) -> None:
    unet = tiny_models.unet
    before, modules, out = base_layers(unet), dict(unet.named_modules()), predict(unet)
    inject_lora(unet, "full", rank=2, alpha=1.0, seed=0)
    randomise(unet)
    remove_lora(unet)
    assert dict(unet.named_modules()) == modules
    assert base_layers(unet) == before
    assert torch.equal(predict(unet), out)


def test_the_layers_of_an_adapter_are_those_that_are_on_now_and_a_copys_its_own(tiny_models: ModelParts) -> None:
    unet = tiny_models.unet
    assert not lora_layers(unet)
    inject_lora(unet, "xattn", rank=2, alpha=1.0, seed=0)
    first, copied = lora_layers(unet), copy.deepcopy(unet)
    assert lora_layers(copied).keys() == first.keys()
    own = {id(module) for module in copied.modules()}
    assert all(id(layer) in own for layer in lora_layers(copied).values())
    first.clear()  # what is returned is the caller's
    assert lora_layers(unet)
    remove_lora(unet)
    assert not lora_layers(unet)
    inject_lora(unet, "xattn_v", rank=2, alpha=1.0, seed=0)
    assert lora_layers(unet).keys() < lora_layers(copied).keys()


def test_weight_zero_is_the_base_and_one_is_as_trained(tiny_models: ModelParts) -> None:
    unet = tiny_models.unet
    before = predict(unet)
    inject_lora(unet, "full", rank=2, alpha=1.0, seed=0)
    randomise(unet)
    tuned = predict(unet)
    with lora_weight(unet, 0.0):
        assert torch.equal(predict(unet), before)
        with lora_weight(unet, 1.0):
            assert torch.equal(predict(unet), tuned)
    assert torch.equal(predict(unet), tuned)


def test_effective_weight_is_base_plus_scaled_up_times_down(tiny_models: ModelParts) -> None:
    """Hu et al. 2021, section 4.1, for a Linear and for a 3x3 convolution."""
    unet = tiny_models.unet
    inject_lora(unet, "full", rank=2, alpha=5.0, seed=0)
    state = randomise(unet)
    generator = torch.Generator().manual_seed(3)
    for name, shape in (("time_embedding.linear_2", (3, 128)), ("mid_block.resnets.0.conv1", (2, 64, 4, 4))):
        layer: Any = lora_layers(unet)[name]
        base = layer.get_base_layer()
        down, up = state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"]
        change = 5.0 / 2 * (up.flatten(1) @ down.flatten(1)).reshape(base.weight.shape)
        x = torch.randn(shape, generator=generator)
        with torch.no_grad():
            if base.weight.ndim == 2:
                wanted = torch.nn.functional.linear(x, base.weight + change, base.bias)
            else:
                wanted = torch.nn.functional.conv2d(x, base.weight + change, base.bias, padding=1)
            torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)


def test_first_weights_come_from_the_seed_alone(tiny_models: ModelParts) -> None:
    unet = tiny_models.unet
    states = []
    for noise, seed in ((1, 7), (2, 7), (3, 8)):
        torch.manual_seed(noise)
        random_state = torch.get_rng_state()
        inject_lora(unet, "xattn", rank=2, alpha=1.0, seed=seed)
        assert torch.equal(torch.get_rng_state(), random_state)
        states.append(lora_state(unet))
        remove_lora(unet)
    key = next(iter(states[0]))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0][key], states[2][key])


def test_each_module_may_have_its_own_rank_and_alpha(tiny_models: ModelParts) -> None:
    unet = tiny_models.unet
    generator = torch.Generator().manual_seed(0)
    state, alphas = {}, {}
    for i, (name, layer) in enumerate(base_layers(unet).items()):
        rank, kernel = 1 + i % 3, tuple(layer.weight.shape[2:])
        down = torch.randn((rank, *layer.weight.shape[1:]), generator=generator) * 0.1
        up = torch.randn((layer.weight.shape[0], rank, *(1 for _ in kernel)), generator=generator) * 0.1
        state[f"{name}.lora_down.weight"], state[f"{name}.lora_up.weight"] = down, up
        if i % 2:
            alphas[name] = 0.5 + i
    inject_lora_state(unet, state, alphas)
    found = lora_state(unet)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    for name, wrapper in lora_layers(unet).items():
        rank = state[f"{name}.lora_down.weight"].shape[0]
        assert wrapper.scaling["erase"] == pytest.approx(alphas.get(name, rank) / rank)


def test_state_of_another_shape_is_refused_and_changes_nothing(tiny_models: ModelParts) -> None:
    unet = tiny_models.unet
    inject_lora(unet, "xattn", rank=2, alpha=1.0, seed=0)
    state = randomise(unet)
    key = next(iter(state))
    with pytest.raises(LoraFileError, match="has shape"):
        load_lora_state(unet, {**state, key: torch.zeros(1, 1)})
    with pytest.raises(LoraFileError, match="is missing"):
        load_lora_state(unet, {name: value for name, value in state.items() if name != key})
    assert all(torch.equal(value, state[name]) for name, value in lora_state(unet).items())


def test_second_adapter_is_refused(tiny_models: ModelParts) -> None:
    inject_lora(tiny_models.unet, "xattn", rank=2, alpha=1.0, seed=0)
    with pytest.raises(ValueError, match="already has a LoRA"):
        inject_lora(tiny_models.unet, "xattn", rank=2, alpha=1.0, seed=0)
