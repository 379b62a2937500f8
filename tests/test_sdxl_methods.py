"""Every method, search and defence goes on with SDXL's conditioning: states of two text encoders, and a pooled text."""

from __future__ import annotations

import pytest
import torch

from erasure.config.values import config_from_dict
from erasure.lora.adapter import inject_lora, lora_state
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.adversary.pgd import PgdSearch
from erasure.training.planning import make_plan
from erasure.training.session import Session
from erasure.training.solver import solver
from erasure.training.speed import null_space
from tests import tiny, tiny_xl
from tests.spaces import space_of

FAST = {"steps": 2, "sampling_steps": 3, "warmup": 0, "rank": 2, "search_steps": 1, "batch": 1}
KINDS = [
    {"adversary": "gumbel", "latents": "replay"},
    {"adversary": "pgd", "latents": "fresh"},
    {"adversary": "rerank", "latents": "noise"},
    {"robust": "embeddings"},
    {"method": "concept-ablation", "anchor": ["tower"]},
    {"method": "forget-me-not"},
    {"method": "adv-unlearn"},
    {"method": "uce"},
    {"method": "time"},
    {"method": "speed"},
    {"method": "speed", "adversary": "none"},
]


@pytest.fixture(scope="module")
def _built() -> ModelParts:
    return tiny_xl.build_tiny_xl()


@pytest.fixture
def model(_built: ModelParts) -> Model:
    return Model(tiny.copied(_built))


@pytest.mark.parametrize("changes", KINDS, ids=str)
def test_a_session_ends_with_changed_and_finite_weights(model: Model, changes: dict[str, object]) -> None:
    config = config_from_dict({"erase": ["church"], **FAST, **changes})
    space = space_of("church", anchor=config.anchors[0])
    inject_lora(model.unet, config.layers, config.rank, config.alpha, config.seed)
    list(Session(model, space, solver(model, space, config), make_plan(model, space, config)).trainer)
    state = lora_state(model.unet)
    assert all(bool(weight.isfinite().all()) for weight in state.values())
    assert any(bool(weight.any()) for name, weight in state.items() if name.endswith("lora_up.weight"))


def test_a_search_in_the_embedding_is_saved_whole(model: Model) -> None:
    search = PgdSearch(config_from_dict({"erase": ["church"]}))
    search._moved = {0: model.embed(["church"]), 12: model.embed(["radio"])}
    again = PgdSearch(config_from_dict({"erase": ["church"]}))
    again.load_tensors(search.tensors())
    for target, moved in search._moved.items():
        assert all(map(torch.equal, moved.tensors, again._moved[target].tensors))
    again.load_tensors({"moved.3": moved.states[0]})  # as earlier versions wrote it
    assert again._moved[3].pooled is None


def test_where_nothing_is_to_be_preserved_all_directions_are_free() -> None:
    assert null_space(torch.zeros(5, 3, dtype=torch.float64)).shape == (5, 5)
