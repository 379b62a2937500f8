"""What every test starts from: no network, one thread, and tiny models built once per session."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# For the processes that tests start: more threads than free cores make a small model many times slower.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

from erasure.judge.judge_settings import JudgeSettings
from erasure.model.draw_settings import DrawSettings
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.verdict.panel import PanelSizes
from tests import tiny
from tests.brief_text_start import SIZES
from tests.expected_skips import (  # noqa: F401  hooks of pytest
    pytest_addoption,
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_runtest_setup,
)

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _built_models() -> ModelParts:
    return tiny.build_tiny_models()


@pytest.fixture
def tiny_models(_built_models: ModelParts) -> ModelParts:
    """Tiny random SD 1.x models, frozen; a fresh copy for every test, so that a test may change them."""
    return tiny.copied(_built_models)


@pytest.fixture
def all_layers_models() -> ModelParts:
    """The same, with as many layers as SD 1.x has; for what is said of layers by number or by where they lie."""
    return tiny.build_tiny_models(sizes=tiny.all_layers_config)


@pytest.fixture
def tiny_model(tiny_models: ModelParts) -> Model:
    """The object that works with ``tiny_models``."""
    return Model(tiny_models)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same models as an original-layout ``.safetensors`` with its ``.yaml``; only to be read."""
    return tiny.tiny_checkpoint(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="session")
def tiny_diffusers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same models as a diffusers folder; read it, do not change it."""
    return tiny.tiny_diffusers_folder(tmp_path_factory.mktemp("diffusers") / "tiny")


@pytest.fixture(autouse=True)
def brief_text_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps on the text encoders before a run's first update: no test but those of that edit need it to be good."""
    for name, brief in SIZES.items():
        monkeypatch.setattr(f"erasure.training.text_start.{name}", brief)


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pictures of a run, in two DDIM steps: for tests of real runs that say nothing about pictures, which otherwise
    take longer than the training."""
    monkeypatch.setattr("erasure.run.tuned_model.DRAW_SETTINGS", DrawSettings(steps=2))
    few = PanelSizes(2, 1, 1, 1, 1, 1, 1, 1)
    monkeypatch.setattr("erasure.verdict.examine.PANEL_SIZES", few)
    settings = JudgeSettings(timesteps=(0.5,), drawing=DrawSettings(steps=2))
    monkeypatch.setattr("erasure.judge.album.JUDGE_SETTINGS", settings)
