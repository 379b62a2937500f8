from __future__ import annotations

import pytest
import torch
from torch import Tensor

from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.lora.adapter import DOWN, UP, base_layers, inject_lora, lora_layers, lora_state, text_values
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.closed_start import closed_start, edit_of_values
from erasure.training.preserved_states import HEAVIEST, LIGHTEST, PreservedStates, WordStates, preserved_states
from erasure.training.trainer import Trainer
from tests.spaces import space_of
from tests.updates import updates


def _config(**changes: object) -> EraseConfig:
    return config_from_dict({"erase": ["church"], "rank": 4, "sampling_steps": 3, "steps": 2, **changes})


def test_the_edit_turns_the_target_into_its_anchor_and_spares_preserved_words(tiny_model: Model) -> None:
    space, config = space_of("church"), _config()
    change, _ = edit_of_values(tiny_model, space, config, preserved_states(tiny_model, space, config))
    own = tiny_model.embed(["church"]).states[0].double()
    # From the last token of the target on: before it, both prompts are the same.
    moved, way = (own @ change.T)[1:], (tiny_model.embed([""]).states[0].double() - own)[1:]
    kept = [
        tiny_model.embed([word]).states[0].double() - tiny_model.embed([""]).states[0].double() for word in ("truck",)
    ]
    spared = torch.stack([word @ change.T for word in kept]).norm() / torch.stack(kept).norm()
    assert torch.nn.functional.cosine_similarity(moved.flatten(), way.flatten(), dim=0) > 0.7
    assert spared < moved.norm() / way.norm()


def test_the_first_weights_hold_the_edit_and_what_is_left_of_the_rank_starts_as_ever(tiny_models: ModelParts) -> None:
    model, space, config = Model(tiny_models), space_of("church"), _config(rank=32)
    inject_lora(tiny_models.unet, "xattn", 32, 32.0, 0)
    first = lora_state(tiny_models.unet)
    preserved = preserved_states(model, space, config)
    state = closed_start(model, space, config, preserved)
    change, metric = edit_of_values(model, space, config, preserved_states(model, space, config))
    root, base = torch.linalg.cholesky(metric), base_layers(tiny_models.unet)
    values = text_values(lora_layers(tiny_models.unet))
    assert values
    for name in lora_layers(tiny_models.unet):
        if name not in values:
            assert torch.equal(state[name + DOWN], first[name + DOWN])
            assert not state[name + UP].any()
            continue
        wanted = base[name].weight.double() @ change
        held = state[name + UP].double() @ state[name + DOWN].double()
        assert ((held - wanted) @ root).norm() <= 0.02 * (wanted @ root).norm()
        unused = ~state[name + UP].any(dim=0)
        assert unused.any()
        assert torch.equal(state[name + DOWN][unused], first[name + DOWN][unused])


def test_words_that_are_hurt_more_weigh_more() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(3, 4, 6, generator=generator)
    near, far = WordStates(states.clone()), WordStates(torch.empty(0, 4, 6))
    preserved = PreservedStates(near, far, torch.zeros(4, 6))
    before = preserved.moment()
    assert before.diagonal().mean() == pytest.approx(1.0)
    hurts_the_first = _projector_on(states[0].double())
    for _ in range(20):
        preserved.reweigh(hurts_the_first)

    def share(moment: Tensor) -> float:
        return float((hurts_the_first @ moment).trace())

    assert share(preserved.moment()) > share(before)
    assert HEAVIEST > 1 > LIGHTEST > 0


def _projector_on(states: Tensor) -> Tensor:
    q, _ = torch.linalg.qr(states.T)
    projector: Tensor = q @ q.T
    return projector


def test_nothing_to_preserve_is_no_problem(tiny_model: Model) -> None:
    preserved = PreservedStates(WordStates(torch.empty(0, 4, 6)), WordStates(torch.empty(0, 4, 6)), torch.eye(4, 6))
    preserved.reweigh(torch.eye(6, dtype=torch.float64))
    assert torch.isfinite(preserved.moment()).all()


def test_training_starts_at_the_edit_and_reads_through_the_null_space(tiny_models: ModelParts) -> None:
    model = Model(tiny_models)
    inject_lora(tiny_models.unet, "xattn", 4, 4.0, 0)
    first = lora_state(tiny_models.unet)
    trainer = Trainer(model, space_of("church"), _config(layers="xattn"))
    started = lora_state(tiny_models.unet)
    for name in text_values(lora_layers(tiny_models.unet)):
        assert started[name + UP].any()
    assert len(updates(trainer)) == 2
    assert any(not torch.equal(started[key], first[key]) for key in first)


def test_layers_without_values_start_at_nothing(tiny_models: ModelParts) -> None:
    inject_lora(tiny_models.unet, "noxattn", 2, 2.0, 0)
    first = lora_state(tiny_models.unet)
    Trainer(Model(tiny_models), space_of("church"), _config(layers="noxattn", rank=2))
    assert all(torch.equal(first[key], weight) for key, weight in lora_state(tiny_models.unet).items())
