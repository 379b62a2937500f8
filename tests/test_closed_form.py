"""Methods in closed form: each solves the problem that it states, and its LoRA holds the solution."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from erasure.config.methods import METHODS
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.config.values import config_from_dict
from erasure.errors import ConceptError
from erasure.lora.adapter import inject_lora, lora_layers, lora_state
from erasure.lora.layer_choice import base_layers
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.closed_form import ClosedForm, Pair, least_squares, low_rank
from erasure.training.events import Note, Step
from erasure.training.solver import CLOSED_FORMS, solver
from erasure.training.speed import change_within, cluster_means, null_space, refined, speed_edit, without
from erasure.training.time_edit import PULL as TIME_PULL
from erasure.training.time_edit import counterparts, time_edit
from erasure.training.uce import PULL, edited_states, normal_matrix, uce_edit
from tests.spaces import WORDS, space_of

pytestmark = pytest.mark.slow

TARGETS = ("church", "radio")


def _config(method: str, **settings: object) -> EraseConfig:
    return config_from_dict({"erase": list(TARGETS), "method": method, "rank": 32, "alpha": 16.0, **settings})


def _solver(models: ModelParts, method: str, **settings: object) -> ClosedForm:
    config = _config(method, **settings)
    inject_lora(models.unet, config.layers, config.rank, config.alpha, config.seed)
    found = solver(Model(models), space_of(*config.erase), config)
    assert isinstance(found, ClosedForm)
    return found


def _edited(models: ModelParts, scale: float = 16.0 / 32) -> dict[str, tuple[Tensor, Tensor]]:
    """Old and new weight of each layer that has a LoRA."""
    state, base = lora_state(models.unet), base_layers(models.unet)
    return {
        name: (
            base[name].weight.double(),
            base[name].weight.double()
            + scale * state[f"{name}.lora_up.weight"].double() @ state[f"{name}.lora_down.weight"].double(),
        )
        for name in lora_layers(models.unet)
    }


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def test_every_method_without_training_has_its_closed_form() -> None:
    assert set(CLOSED_FORMS) == {name for name, about in METHODS.items() if about.closed_form}


@pytest.mark.parametrize("method", CLOSED_FORMS)
def test_a_prompt_is_moved_to_what_is_left_of_it(tiny_models: ModelParts, method: str) -> None:
    solver = _solver(tiny_models, method, templates=["a {}", "a hill[ by {}]"])
    note, step = list(solver)
    assert isinstance(note, Note)
    assert isinstance(step, Step)
    assert step.erased == ("a church", "a hill by church", "a radio", "a hill by radio")
    assert (step.step, step.steps, step.rows) == (1, 1, 0)
    assert [Pair(t, "church", "").goal for t in ("a {}", "a hill[ by {}]")] == ["", "a hill"]
    assert list(solver) == []  # all is done


@pytest.mark.parametrize("method", CLOSED_FORMS)
def test_an_edit_is_held_by_its_lora_if_the_rank_allows(tiny_models: ModelParts, method: str) -> None:
    solver = _solver(tiny_models, method)
    edit = CLOSED_FORMS[solver.config.method](Model(tiny_models), space_of(*TARGETS), solver.config)
    list(solver)
    assert edit.changes.keys() == _edited(tiny_models).keys()
    for name, (old, new) in _edited(tiny_models).items():
        wanted = old @ edit.changes[name]
        assert float(wanted.norm()) > 0
        torch.testing.assert_close(new - old, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", CLOSED_FORMS)
def test_a_state_brings_the_weights_back(tiny_models: ModelParts, method: str) -> None:
    other = copy.deepcopy(tiny_models)
    done, resumed = _solver(tiny_models, method), _solver(other, method)
    list(done)
    resumed.load(done.tensors(), done.meta())
    assert list(resumed) == []
    found = lora_state(other.unet)
    assert all(torch.equal(weight, found[name]) for name, weight in lora_state(tiny_models.unet).items())


def test_least_squares_has_no_gradient_at_its_solution() -> None:
    inputs, moves, rest = _random(6, 3), _random(5, 3, seed=1), _random(6, 9, seed=2)
    rest = rest @ rest.T
    found = least_squares(inputs, moves, inputs @ inputs.T + rest).requires_grad_()
    ((found @ inputs - moves).square().sum() + (found @ rest @ found.T).trace()).backward()
    assert found.grad is not None
    torch.testing.assert_close(found.grad, torch.zeros_like(found), atol=1e-9, rtol=0)


def test_a_matrix_of_low_rank_is_held_exactly() -> None:
    matrix, points = _random(12, 3) @ _random(3, 20, seed=1), _random(20, 100, seed=2)
    metric = points @ points.T
    down, up, error = low_rank(matrix, 4, metric)
    assert (down.shape, up.shape) == ((4, 20), (12, 4))
    torch.testing.assert_close(up @ down, matrix)
    assert error < 1e-12
    down, up, error = low_rank(matrix, 2, metric)
    left = ((up @ down - matrix) @ points).norm()
    assert error == pytest.approx(float(left / (matrix @ points).norm()))
    # no worse than the nearest in the plain sense, which does not know where the points are
    u, s, vh = torch.linalg.svd(matrix)
    assert left < (((u[:, :2] * s[:2]) @ vh[:2] - matrix) @ points).norm()


@pytest.mark.parametrize("method", CLOSED_FORMS)
def test_a_lora_of_low_rank_has_the_error_that_is_told(tiny_models: ModelParts, method: str) -> None:
    solver = _solver(tiny_models, method, rank=1, alpha=0.5)
    note = next(event for event in solver if isinstance(event, Note))
    told = float(note.text.partition("relative error of ")[2].split()[0])
    edit = CLOSED_FORMS[solver.config.method](Model(tiny_models), space_of(*TARGETS), solver.config)
    seen = torch.linalg.cholesky(edit.metric)
    lost = whole = 0.0
    for name, (old, new) in _edited(tiny_models, 0.5).items():
        wanted = old @ edit.changes[name]
        lost += float(((new - old - wanted) @ seen).square().sum())
        whole += float((wanted @ seen).square().sum())
    assert told == pytest.approx((lost / whole) ** 0.5, rel=0.1)
    assert 0 < told < 1


# --- UCE


def test_uce_solves_its_normal_equations(tiny_models: ModelParts) -> None:
    solver = _solver(tiny_models, "uce", preserve=["castle"], preserve_weight=3.0)
    list(solver)
    model, edited = Model(tiny_models), [Pair("{}", name, "") for name in TARGETS]
    erased, anchors = edited_states(model, edited)
    preserved = model.embed(["", "castle"]).states.double().flatten(0, 1).T
    for old, new in _edited(tiny_models).values():
        # Eq. 7, differentiated in W'; two prompts are preserved, so that each weighs 3 / 2
        erase = (new @ erased - old @ anchors) @ erased.T
        preserve = ((new - old) @ preserved) @ preserved.T
        gradient = erase + 3.0 / 2 * preserve + PULL * (new - old)
        assert float(gradient.norm() / (old @ anchors @ erased.T).norm()) < 1e-5


def test_uce_gives_an_erased_concept_its_anchors_keys_and_values() -> None:
    erased, anchors = 100 * _random(32, 3), 100 * _random(32, 3, seed=1)
    metric = normal_matrix(erased, torch.zeros(32, 1, dtype=torch.float64), 0.0)
    weight = _random(8, 32, seed=2)
    new = weight + weight @ least_squares(erased, anchors - erased, metric)
    torch.testing.assert_close(new @ erased, weight @ anchors, rtol=0, atol=0.05)
    assert float((weight @ (erased - anchors)).abs().mean()) > 100
    # and leaves alone what is at right angles to it
    outside = torch.linalg.qr(erased, mode="complete").Q[:, 3:]
    torch.testing.assert_close(new @ outside, weight @ outside)


def test_uce_preserves_what_it_is_told_to(tiny_models: ModelParts) -> None:
    other = copy.deepcopy(tiny_models)
    kept = Model(tiny_models).embed(["castle"]).states[0].double().T
    moved = []
    for models, preserve in ((tiny_models, []), (other, ["castle"])):
        list(_solver(models, "uce", preserve=preserve, preserve_weight=100.0))
        moved.append(sum(float(((new - old) @ kept).square().mean()) for old, new in _edited(models).values()))
    assert moved[1] < 0.5 * moved[0]


def test_uce_may_preserve_the_whole_concept_space(tiny_models: ModelParts) -> None:
    model, config = Model(tiny_models), _config("uce", adversary="whole")
    assert uce_edit(model, space_of(*TARGETS), config).preserved_prompts == ("", *WORDS)


# --- TIME


@pytest.mark.parametrize(
    ("source", "destination", "places"),
    [
        ("a pack of roses", "a pack of blue roses", "a pack of roses"),
        ("a church", "a building", "a building"),
        ("church", "", "<start>"),
        ("old stone church at night", "house at night", "house house house at night"),
        ("church", "tall tower", "tower"),
        ("a hill by church", "a hill", "a hill hill hill"),
    ],
)
def test_tokens_of_a_source_prompt_have_their_counterparts_in_the_destination(
    tiny_model: Model, source: str, destination: str, places: str
) -> None:
    def ids(text: str) -> list[int]:
        found: list[int] = tiny_model.tokenizer(text).input_ids
        return found

    found = counterparts(ids(source), ids(destination))
    words = ["<start>", *destination.split(), "<end>"]
    assert [words[place] for place in found] == ["<start>", *places.split(), "<end>"]


def test_time_solves_its_normal_equations(tiny_models: ModelParts) -> None:
    list(_solver(tiny_models, "time"))
    model = Model(tiny_models)
    erased = model.embed(list(TARGETS)).states.double()
    nothing = model.embed([""]).states[0].double()
    # Start token and concept are read as the start token, the end and what follows it as the empty prompt's end.
    goal = torch.cat([nothing[[0, 0]], nothing[1:-1]])
    for old, new in _edited(tiny_models).values():
        gradient = TIME_PULL * (new - old)
        for states in erased:
            gradient = gradient + (new @ states.T - old @ goal.T) @ states
        assert float(gradient.norm() / (old @ goal.T @ erased[0]).norm()) < 1e-5


def test_time_works_with_prompts_that_end_without_padding(tiny_models: ModelParts) -> None:
    model = Model(tiny_models)
    whole = model.embed

    def cut(texts: Any) -> Any:
        longest = max(len(model.tokenizer(text).input_ids) for text in texts)
        return whole(texts).apply(lambda states: states[:, :longest])

    model.embed = cut  # type: ignore[method-assign]
    inject_lora(tiny_models.unet, "xattn_kv", 4, 4.0, seed=0)
    edit = time_edit(model, space_of("church", anchor="tall tower"), _config("time", erase=["church"]))
    tower = whole(["tall tower"]).states[0].double()
    torch.testing.assert_close(edit.anchors, tower[[0, 2, 3]].T)


# --- SPEED


def test_speed_is_the_published_solution() -> None:
    erased, anchors, fixed = _random(12, 2), _random(12, 2, seed=1), _random(12, 3, seed=2)
    states = _random(12, 5, seed=3)
    space = null_space(states)
    assert space.shape == (12, 7)
    found = change_within(without(space, fixed), erased, anchors)
    p, one = space @ space.T, torch.eye(12, dtype=torch.float64)
    m = torch.linalg.inv(erased @ erased.T @ p + one)
    held = m @ fixed @ torch.linalg.inv(fixed.T @ p @ m @ fixed) @ fixed.T @ p
    wanted = (anchors @ erased.T - erased @ erased.T) @ p @ (one - held) @ m
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found @ fixed, torch.zeros(12, 3, dtype=torch.float64))
    torch.testing.assert_close(found @ states, torch.zeros(12, 5, dtype=torch.float64))
    assert int(torch.linalg.matrix_rank(found)) == 2


def test_speed_moves_the_target_and_neither_what_it_would_hurt_most_nor_the_start(
    tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("erasure.training.speed.THRESHOLD", 1e-6)
    (step,) = [event for event in _solver(tiny_models, "speed") if isinstance(event, Step)]
    assert step.preserved == WORDS
    states = Model(tiny_models).embed(["church", "radio", *WORDS]).states.double()
    start, own, words = states[0, 0], states[:2, 1].T, states[2:, 1].T
    metric = own @ own.T + torch.eye(32, dtype=torch.float64)
    free = least_squares(own, start[:, None] - own, metric)
    for old, new in _edited(tiny_models).values():
        hurt = (old @ free @ words).norm(dim=0)
        held = torch.cat([start[:, None], words[:, hurt > hurt.mean()]], dim=1)
        assert held.shape[1] > 1
        moved = ((new - old) @ own).norm(dim=0).min()
        assert float(moved) > 1e4 * float(((new - old) @ held).norm(dim=0).max())
    assert {name.rpartition(".")[2] for name in _edited(tiny_models)} == {"to_v"}


def test_speed_preserves_those_that_are_moved_most_and_copies_along_the_least_direction() -> None:
    kept, weight = _random(8, 6), torch.diag(torch.arange(8.0, 0, -1, dtype=torch.float64))
    change = _random(4, 8, seed=1)
    change[:, -1] *= 0.1  # so that copies along the last direction are moved about as far
    held = refined(kept, weight, change, Generator().manual_seed(0))
    most = kept[:, (change @ kept).norm(dim=0) > (change @ kept).norm(dim=0).mean()]
    count = most.shape[1]
    assert 0 < count < 6
    assert torch.equal(held[:, :count], most)
    assert 0 < held.shape[1] - count < 10 * count
    for copied in held[:, count:].T:
        same = (copied[:-1, None] == most[:-1]).all(dim=0)
        assert int(same.sum()) == 1  # only the last coordinate, W's least, has noise on it


def test_a_null_space_does_not_depend_on_the_scale_of_the_states() -> None:
    states = _random(10, 40) * torch.logspace(0, -3, 10, dtype=torch.float64)[:, None]
    narrow = null_space(states)
    assert 0 < narrow.shape[1] < 10
    torch.testing.assert_close(narrow.T @ narrow, torch.eye(narrow.shape[1], dtype=torch.float64))
    share = (narrow.T @ states).square().mean() / states.square().sum(dim=0).mean() * 10  # of a mean eigenvalue of 1
    assert float(share) < 0.1
    assert null_space(100 * states).shape == narrow.shape


def test_a_layer_without_a_null_space_stays_as_it_is() -> None:
    erased, anchors = _random(6, 2), _random(6, 2, seed=1)
    for basis in (null_space(torch.eye(6, dtype=torch.float64)), without(_random(6, 2, seed=2), _random(6, 4))):
        assert basis.shape == (6, 0)
        assert torch.equal(change_within(basis, erased, anchors), torch.zeros(6, 6, dtype=torch.float64))
        assert without(basis, _random(6, 4, seed=3)).shape == (6, 0)


def test_speed_without_any_null_space_says_what_to_do(tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("erasure.training.speed.THRESHOLD", 1e-6)
    inject_lora(tiny_models.unet, "xattn_v", 4, 4.0, seed=0)
    many = space_of(*TARGETS, words=tuple(f"word {i}" for i in range(200)))
    with pytest.raises(ConceptError, match="200 states of width 32, leave no null space; use fewer neighbours"):
        speed_edit(Model(tiny_models), many, _config("speed"))


def test_speed_can_preserve_only_what_is_named_or_only_the_empty_prompt(tiny_models: ModelParts) -> None:
    model, space = Model(tiny_models), space_of(*TARGETS)
    inject_lora(tiny_models.unet, "xattn_v", 4, 4.0, seed=0)
    named = speed_edit(model, space, _config("speed", adversary="none", preserve=["castle"], templates=["a {} here"]))
    assert named.preserved_prompts == ("a castle here",)
    castle = model.embed([fill("a {} here", "castle")]).states[0, 2]
    torch.testing.assert_close(named.preserved[:, 0], castle.double())
    empty = speed_edit(model, space, _config("speed", adversary="none"))
    assert empty.preserved_prompts == ("",)
    assert empty.preserved.shape == (32, 76)


def test_means_of_clusters_are_found_wherever_they_lie() -> None:
    centres = torch.tensor([[0.0, 10.0, -10.0], [0.0, 5.0, 5.0]], dtype=torch.float64)
    points = torch.cat([centre[:, None] + 0.1 * _random(2, 20, seed=i) for i, centre in enumerate(centres.T)], dim=1)
    found = cluster_means(points, 3)
    wanted = torch.stack([part.mean(dim=1) for part in points.split(20, dim=1)], dim=1)
    torch.testing.assert_close(found[:, found[0].argsort()], wanted[:, wanted[0].argsort()])
    assert cluster_means(points[:, :1].expand(2, 5), 3).shape == (2, 1)  # of one state there is one mean
