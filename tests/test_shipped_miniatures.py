"""emoji-SD-2v and emoji-SDXL as they ship: small, told by their files, and good enough to see what is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emoji_sd import MINIATURES, load_classifier
from emoji_sd.captions import measured_caption
from erasure.families.sd2 import SD2
from erasure.families.sdxl import SDXL
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import draw_pictures
from erasure.model.model import open_model

SHOWN = ("church", "dog", "truck", "parachute")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(path.exists() for path in MINIATURES), reason="the weights are not in this checkout"),
]


def test_each_is_told_by_its_files() -> None:
    told = [inspect_checkpoint(path) for path in MINIATURES]
    assert [(each.family, each.prediction_type) for each in told] == [(SD2, "v_prediction"), (SDXL, "epsilon")]


@pytest.mark.parametrize("path", MINIATURES, ids=lambda path: path.stem)
def test_it_is_small_and_draws_what_it_was_measured_to_draw(path: Path) -> None:
    assert path.stat().st_size < 60e6
    figures = json.loads((path.parent / "figures.json").read_text(encoding="utf-8"))
    assert figures["concept_top_1"] >= 70
    assert figures["concept_top_5"] >= 90


@pytest.mark.parametrize("path", MINIATURES, ids=lambda path: path.stem)
def test_the_classifier_recognises_its_pictures(path: Path) -> None:
    model = open_model(inspect_checkpoint(path))
    prompts = [measured_caption(name, "flat") for name in SHOWN]
    drawn = draw_pictures(model, prompts, [1, 2, 3, 4], DrawSettings(steps=10, guidance=4.0))
    ranks = load_classifier().concept_ranks(drawn, SHOWN)
    assert sum(rank == 0 for rank in ranks) >= 3
    assert max(ranks) < 5
