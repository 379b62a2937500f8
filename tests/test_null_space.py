from __future__ import annotations

import torch
from torch import Tensor

from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.lora.adapter import inject_lora, lora_state, text_readers
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.null_space import NullSpace
from erasure.training.null_space import projection as projection_for
from erasure.training.preserved_states import preserved_states
from erasure.training.trainer import Trainer
from tests.spaces import space_of
from tests.updates import updates


def projection(model: Model, space: ConceptSpace, config: EraseConfig) -> Tensor:
    return projection_for(model, space, config, preserved_states(model, space, config).moment())


def test_the_projection_damps_what_preserved_prompts_are_made_of(tiny_model: Model) -> None:
    space = space_of("church")
    strengths = []
    for null_space in (1.0, 0.01):
        config = config_from_dict({"erase": ["church"], "null_space": null_space})
        found = projection(tiny_model, space, config).double()
        assert torch.allclose(found, found.T, atol=1e-5)
        kept = tiny_model.embed(["truck", "bus", "house"]).states.double().flatten(0, 1)
        strengths.append(float((kept @ found).norm() / kept.norm()))
    assert strengths[1] < strengths[0] < 10


def test_the_way_from_anchor_to_target_keeps_its_length(tiny_model: Model) -> None:
    config = config_from_dict({"erase": ["church"], "null_space": 0.05})
    found = projection(tiny_model, space_of("church"), config)
    way = (tiny_model.embed(["church"]).states - tiny_model.embed([""]).states).flatten(0, 1)
    assert torch.isclose((way @ found).norm(), way.norm(), rtol=1e-3)


def test_only_keys_and_values_read_through_the_projection(tiny_model: Model) -> None:
    inject_lora(tiny_model.unet, "xattn", 2, 2.0, 0)
    before = lora_state(tiny_model.unet)
    width = text_readers(tiny_model.unet)[0].shape[1]
    NullSpace(tiny_model, torch.zeros(width, width))
    for name, weight in lora_state(tiny_model.unet).items():
        reads_text = name.endswith((".attn2.to_k.lora_down.weight", ".attn2.to_v.lora_down.weight"))
        assert torch.equal(weight, torch.zeros_like(weight) if reads_text else before[name])


def test_training_never_leaves_the_projections_span(tiny_models: ModelParts) -> None:
    model = Model(tiny_models)
    inject_lora(tiny_models.unet, "xattn", 2, 2.0, 0)
    config = config_from_dict(
        {"erase": ["church"], "steps": 3, "sampling_steps": 3, "rank": 2, "warmup": 0, "start": "zero"}
    )
    trainer = Trainer(model, space_of("church"), config)
    found = projection(model, space_of("church"), config)
    before = [down.detach().clone() for down in text_readers(tiny_models.unet)]
    assert len(updates(trainer)) == 3
    inverse = torch.linalg.pinv(found.double())
    for down, first in zip(text_readers(tiny_models.unet), before, strict=True):
        assert not torch.equal(down, first)
        back = down.double() @ inverse @ found.double()
        assert torch.allclose(back, down.double(), atol=1e-4)
