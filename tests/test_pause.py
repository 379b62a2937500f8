"""A session that is moved holds nothing on the device it left, and goes on as if it had stayed."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator

import pytest
import torch

from erasure.config.values import config_from_dict
from erasure.lora.adapter import inject_lora, lora_parameters, lora_state
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import drawing_steps, run_to_end
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.events import Step
from erasure.training.planning import make_plan
from erasure.training.session import Session
from erasure.training.solver import CLOSED_FORMS, solver
from tests.reachable import tensors_of
from tests.spaces import space_of

pytestmark = pytest.mark.slow

FAST = {"steps": 4, "sampling_steps": 3, "warmup": 0, "rank": 2, "search_steps": 1, "batch": 2}
KINDS = [
    {"adversary": "gumbel", "latents": "replay"},
    {"adversary": "pgd", "latents": "fresh"},
    {"adversary": "rerank", "latents": "noise"},
    {"method": "concept-ablation", "anchor": ["tower"]},
    {"method": "forget-me-not"},
    {"method": "adv-unlearn"},
    {"method": "uce"},
    {"method": "speed"},
]
# Of purpose on the CPU, wherever the model is: what is remembered of prompts and latents, the rerank search's few
# numbers, and Adam's step counters, as torch wants them.
STAYS = re.compile(r"_embedder\._known|source\._known|adversary\.estimates|\['step'\]$")


def _session(models: ModelParts, changes: dict[str, object]) -> Session:
    config = config_from_dict({"erase": ["church", "radio"], **FAST, **changes})
    model, space = Model(models, resolution=config.resolution), space_of("church", "radio", anchor=config.anchors[0])
    inject_lora(model.unet, config.layers, config.rank, config.alpha, config.seed)
    return Session(model, space, solver(model, space, config), make_plan(model, space, config))


@pytest.fixture
def swapped() -> Iterator[None]:
    """Between the CPU and "meta", torch keeps a module's parameters only so; between real devices, always."""
    if not hasattr(torch.__future__, "set_swap_module_params_on_conversion"):
        pytest.skip("this torch cannot move parameters to meta in place")
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.parametrize("changes", KINDS, ids=str)
@pytest.mark.usefixtures("swapped")
def test_nothing_stays_on_the_device_that_was_left(tiny_models: ModelParts, changes: dict[str, object]) -> None:
    session = _session(tiny_models, changes)
    steps = (event for event in session.trainer if isinstance(event, Step))
    for _, _ in zip(range(2), steps, strict=False):
        pass
    before = dict(tensors_of(session))
    assert {tensor.device.type for tensor in before.values()} == {"cpu"}
    own = {"gumbel": "adversary.logits", "pgd": "adversary._moved", "rerank": "source._noise"}
    assert any(own.get(str(changes.get("adversary")), "unet") in way for way in before)
    session.move("meta")
    after = dict(tensors_of(session))
    assert after.keys() == before.keys()
    left = [way for way, tensor in after.items() if tensor.device.type != "meta"]
    assert [way for way in left if not STAYS.search(way)] == []
    if changes.get("method") not in CLOSED_FORMS:
        assert any("_optimizer" in way for way in after)
        descent = session.trainer.descent  # type: ignore[attr-defined]
        trained = {id(weight) for group in descent._optimizer.param_groups for weight in group["params"]}
        weights = lora_parameters(session.model.unet)
        null_space = descent._null_space
        if null_space is not None:
            weights = null_space.parameters(weights)
        assert trained == {id(weight) for weight in weights}


@pytest.mark.parametrize("changes", KINDS[:4], ids=str)
def test_a_session_that_was_moved_away_and_back_ends_with_the_same_weights(
    tiny_models: ModelParts, changes: dict[str, object]
) -> None:
    others = copy.deepcopy(tiny_models)
    stayed, moved = _session(tiny_models, changes), _session(others, changes)
    list(stayed.trainer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for step in moved.trainer:
        if getattr(step, "step", 0) in (1, 3):
            moved.move(device)
            moved.move("cpu")
    weights = lora_state(others.unet)
    assert all(torch.equal(weight, weights[name]) for name, weight in lora_state(tiny_models.unet).items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("changes", KINDS[:4], ids=str)
def test_a_paused_session_leaves_a_gpu_empty(tiny_models: ModelParts, changes: dict[str, object]) -> None:
    session = _session(tiny_models, changes)
    session.move("cuda")
    for _, _ in zip(range(2), session.trainer, strict=False):
        pass
    session.move("cpu")
    assert [way for way, tensor in tensors_of(session) if tensor.is_cuda] == []
    session.move("cuda")
    next(iter(session.trainer))


def test_an_fp16_scale_survives_a_move() -> None:
    from erasure.training.gradient_scale import gradient_scaler, moved_scaler

    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("this torch has no scaler without a GPU")
    scaler = gradient_scaler(torch.float16, torch.device("cpu"))
    scaler.scale(torch.ones(()))
    scaler.update(64.0)
    moved = moved_scaler(scaler, torch.device("cpu"))
    assert moved is not scaler
    assert moved.state_dict() == scaler.state_dict()
    assert float(moved.scale(torch.ones(()))) == 64.0
    plain = gradient_scaler(torch.float32, torch.device("cpu"))
    assert moved_scaler(plain, torch.device("cpu")) is plain


def test_pictures_that_are_paused_on_the_way_are_the_same_pictures(tiny_model: Model) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    straight = run_to_end(drawing_steps(tiny_model, ["church", "dog"], [1, 2], DrawSettings(steps=5)))
    steps = drawing_steps(tiny_model, ["church", "dog"], [1, 2], DrawSettings(steps=5))
    for _ in range(3):
        next(steps)
        tiny_model.move(device)
        tiny_model.move("cpu")
    assert [picture.tobytes() for picture in run_to_end(steps)] == [picture.tobytes() for picture in straight]
