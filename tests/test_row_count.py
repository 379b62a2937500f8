"""Rows that are told before a training are those that it takes."""

from __future__ import annotations

import dataclasses
from itertools import permutations
from typing import Any

import pytest

from erasure.concepts.hostile_wordings import HostileWording
from erasure.config.methods import METHODS
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict, erase_config
from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.model.model import Model
from erasure.model.rows import Rows
from erasure.training.row_count import rows_per_update
from erasure.training.solver import solver
from tests.spaces import WORDS, space_of

UPDATES = 60


def _taken(model: Model, config: EraseConfig) -> Rows:
    """Rows per update of a whole training by a model that predicts its input, which costs next to nothing."""
    inject_lora(model.unet, config.layers, config.rank, config.alpha, config.seed)
    weight = lora_parameters(model.unet)[0]
    predict = lambda z, t, c: z + 0 * (weight.sum() + c.states.sum())  # noqa: E731
    model._denoiser._forward = predict  # type: ignore[method-assign]
    space = space_of(*config.erase, anchor=config.anchors[0])
    with pytest.MonkeyPatch.context() as patch:
        # There is no attention to look at, either.
        patch.setattr("erasure.training.forget_me_not.attention_paid", lambda layers, places: weight.square().sum())
        pairs = tuple(HostileWording(f"{a} {b}", made_of=(a, b)) for a, b in permutations(WORDS, 2))
        hostile = [pairs] * len(config.erase)
        patch.setattr("erasure.training.defence.words.understood_wordings", lambda *given: hostile)
        list(solver(model, space, config))
    return model.rows["training"] * (1 / UPDATES)


def _told(config: EraseConfig) -> Rows:
    return rows_per_update(config, (len(WORDS),) * len(config.erase))


def _agree(told: Rows, taken: Rows, rel: float) -> None:
    assert dataclasses.asdict(told) == pytest.approx(dataclasses.asdict(taken), rel=rel)


def _config(**changes: Any) -> EraseConfig:
    return config_from_dict({"erase": ["church"], "steps": UPDATES, "sampling_steps": 6, "rank": 1, **changes})


@pytest.mark.parametrize("latents", ["replay", "fresh", "noise"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"erase": ["church", "bell", "dog"], "anchor": ["house"], "batch": 2, "preserve": ["cat"]},
        {"adversary": "rerank", "sampling_guidance": 1, "reuse": 2},
        {"adversary": "fixed", "guidance_from": "null", "anchor": ["house"]},
        {"adversary": "pgd", "on_policy": False},
        {"robust": "words", "start": "zero"},  # an edit of text encoders leaves pairs to itself
        {"robust": "embeddings", "erase": ["church", "bell"], "batch": 2},
        {"robust": "embeddings", "on_policy": False},
        {"adversary": "anchor", "guidance": 0, "on_policy": False, "preserve_on_policy": False},
        {"adversary": "uniform", "preserve_on_policy": False},
        {"adversary": "uniform", "on_policy": False},
        {"templates": ["{}", "a house[ by {}]", "a cow[ by {}]"], "adversary": "none", "guidance": 0, "reuse": 60},
        {"templates": ["a house[ by {}]"], "adversary": "none", "guidance": 0, "on_policy": False},
    ],
)
def test_the_rows_of_every_kind_of_latents_are_told(tiny_model: Model, latents: str, changes: dict[str, Any]) -> None:
    config = _config(latents=latents, **changes)
    _agree(_told(config), _taken(tiny_model, config), 0.1)


TRAINED = [name for name, about in METHODS.items() if not about.closed_form and name != "esd-u"]  # which is as esd-x


@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("anchor", ["", "tower"])
def test_the_rows_of_every_method_are_told(tiny_model: Model, method: str, anchor: str) -> None:
    config = _config(method=method, anchor=[anchor] if anchor else [])
    _agree(_told(config), _taken(tiny_model, config), 0.06)


def test_pictures_of_several_targets_are_drawn_together(tiny_model: Model) -> None:
    config = _config(method="forget-me-not", erase=["church", "bell", "dog"], batch=3)
    taken = _taken(tiny_model, config)
    _agree(_told(config), taken, 0.06)
    assert taken.calls < 2.1  # one by one they would take 4


def test_the_default_takes_at_most_24_rows_where_the_published_way_takes_200(tiny_model: Model) -> None:
    config = erase_config(erase=("church",), steps=UPDATES)
    assert _taken(tiny_model, config).total <= 24
    assert rows_per_update(erase_config(erase=("church",))).total <= 24
    assert rows_per_update(erase_config(erase=("church",), latents="fresh", sampling_steps=50)).total >= 200


def test_a_larger_concept_space_is_met_less_often_and_costs_more() -> None:
    config = _config()
    assert rows_per_update(config, (100,)).total > rows_per_update(config, (3,)).total
    assert rows_per_update(config) == rows_per_update(config, (config.neighbours,))


@pytest.mark.parametrize("method", [name for name, about in METHODS.items() if about.closed_form])
def test_a_closed_form_takes_no_row(method: str) -> None:
    assert rows_per_update(_config(method=method)) == Rows()
