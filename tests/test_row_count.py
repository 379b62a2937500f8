"""Rows that are told before a training are those that it takes."""

from __future__ import annotations

from typing import Any

import pytest

from erasure.config.methods import METHODS
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict, erase_config
from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.model.denoiser import Denoiser
from erasure.model.embedding import Embedder
from erasure.model.models import Models
from erasure.training.row_count import rows_per_update
from erasure.training.trainer import Trainer
from tests.spaces import WORDS, space_of

UPDATES = 100


def _taken(models: Models, config: EraseConfig) -> float:
    """Rows per update of a whole training by a model that predicts its input, which costs next to nothing."""
    inject_lora(models.unet, config.layers, config.rank, config.alpha, config.seed)
    denoiser, weight = Denoiser(models.unet), lora_parameters(models.unet)[0]
    denoiser._forward = lambda z, t, c: z + 0 * (weight.sum() + c.sum())  # type: ignore[method-assign]
    space = space_of(*config.erase, anchor=config.anchors[0])
    list(Trainer(models, denoiser, Embedder(models), space, config))
    return denoiser.rows.total / UPDATES


def _told(config: EraseConfig) -> float:
    return rows_per_update(config, (len(WORDS),) * len(config.erase))


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
        {"adversary": "anchor", "guidance": 0, "on_policy": False, "preserve_on_policy": False},
        {"adversary": "uniform", "preserve_on_policy": False},
        {"adversary": "uniform", "on_policy": False},
        {"templates": ["{}", "a house[ by {}]", "a cow[ by {}]"], "adversary": "none", "guidance": 0, "reuse": 60},
        {"templates": ["a house[ by {}]"], "adversary": "none", "guidance": 0, "on_policy": False},
    ],
)
def test_the_rows_of_every_kind_of_latents_are_told(tiny_models: Models, latents: str, changes: dict[str, Any]) -> None:
    config = _config(latents=latents, **changes)
    assert _told(config) == pytest.approx(_taken(tiny_models, config), rel=0.1)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("uce", "esd-u")])  # no update; as esd-x
@pytest.mark.parametrize("anchor", ["", "tower"])
def test_the_rows_of_every_method_are_told(tiny_models: Models, method: str, anchor: str) -> None:
    config = _config(method=method, anchor=[anchor] if anchor else [])
    assert _told(config) == pytest.approx(_taken(tiny_models, config), rel=0.06)


def test_the_default_takes_at_most_24_rows_where_the_published_way_takes_200(tiny_models: Models) -> None:
    config = erase_config(erase=("church",), steps=UPDATES)
    assert _taken(tiny_models, config) <= 24
    assert rows_per_update(erase_config(erase=("church",))) <= 24
    assert rows_per_update(erase_config(erase=("church",), latents="fresh", sampling_steps=50)) >= 200


def test_a_larger_concept_space_is_met_less_often_and_costs_more() -> None:
    config = _config()
    assert rows_per_update(config, (100,)) > rows_per_update(config, (3,))
    assert rows_per_update(config) == rows_per_update(config, (config.neighbours,))


def test_the_closed_form_takes_no_row() -> None:
    assert rows_per_update(_config(method="uce")) == 0
