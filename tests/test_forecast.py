"""Rows that are told before a run are those that are counted in it, purpose by purpose."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from erasure.concepts.row_count import judged_rows
from erasure.config.settings import EraseConfig
from erasure.config.settle import with_changes
from erasure.config.values import config_from_dict
from erasure.judge.judge_settings import JUDGE_SETTINGS
from erasure.lora.adapter import lora_layers, lora_parameters
from erasure.lora.layer_choice import text_values
from erasure.model.conditioning import Conditioning
from erasure.model.denoiser import Denoiser
from erasure.model.draw_settings import DRAW_SETTINGS
from erasure.model.model import Model
from erasure.model.rows import RowBook, Rows
from erasure.model.stage import Stage
from erasure.run.beginning import erase
from erasure.run.folder import RunFolder
from erasure.run.forecast import HURT_SHOWN, SEEDS, forecast_rows, soonest_end
from erasure.run.task import Task
from erasure.training.closed_start_sizes import strengthening_rows
from erasure.training.defence.sizes import SECOND_LOOK
from erasure.training.session import Session, session_steps
from erasure.verdict.panel import PANEL_SIZES

pytestmark = pytest.mark.slow

# As many as are rehearsed in turn, and more.
WORDS = (
    *("truck", "bus", "house", "tower", "bell", "dog", "cat", "tree", "road", "boat", "apple", "bird", "chair", "door"),
    *("eye", "fish", "glass", "hand", "ice", "jar", "key", "lamp", "moon", "nose", "oil", "pen", "queen", "ring"),
    *("shoe", "table", "wall", "window"),
)


def _predict(self: Denoiser, z: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
    """Depends on all that the U-Net's own prediction does, and costs next to nothing."""
    lora = sum(weight.sum() for weight in lora_parameters(self.unet))
    return 0.5 * z + conditioning.states[..., 0].mean(dim=1).view(-1, 1, 1, 1) + 1e-6 * lora


def _read(model: Model, noise: Tensor, prompts: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Ask for a prediction as :mod:`erasure.training.attended` does, without a U-Net that could be watched."""
    conditioning = model.embed(prompts)
    model.eps(noise, torch.zeros(len(noise), dtype=torch.long), conditioning)
    for name in text_values(lora_layers(model.unet)):
        yield name.removesuffix(".to_v"), conditioning.states


def _counted(
    checkpoint: Path, folder: Path, config: EraseConfig, monkeypatch: pytest.MonkeyPatch
) -> tuple[RowBook, tuple[int, ...]]:
    """The book of a whole run, and its numbers of candidates."""
    opened: list[Session] = []

    def keep(*given: Any) -> Generator[Stage, None, Session]:
        opened.append((yield from session_steps(*given)))
        return opened[0]

    monkeypatch.setattr("erasure.run.tuned_model.session_steps", keep)
    for _ in erase(Task(checkpoint, folder / "gone.safetensors", RunFolder(folder / "run"), config)):
        pass
    return opened[0].model.rows, tuple(len(target.preserved) for target in opened[0].space.targets)


@pytest.mark.parametrize(
    "changes",
    [
        {"preview_every": 20},
        {"judged_words": 0, "look_every": 0},
        {"robust": "words", "synonym": ["chapel"]},
        {"robust": "embeddings"},
        {"erase": ["church", "radio"], "batch": 2, "preserve": ["castle"], "latents": "fresh", "preview_every": 15},
        {"adversary": "rerank", "sampling_guidance": 1, "synonym_states": 1},
        {"adversary": "pgd", "synonym_threshold": 0},
        {"method": "concept-ablation", "anchor": ["lake"]},
        {"method": "uce", "adversary": "whole"},
        {"method": "speed"},
    ],
    ids=str,
)
def test_the_rows_of_a_run_are_told_for_every_purpose(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(Denoiser, "_forward", _predict)
    monkeypatch.setattr("erasure.training.attended._reads", _read)
    monkeypatch.setattr(Model, "decode", lambda self, latent: Image.new("RGB", (8, 8)))
    monkeypatch.setattr("erasure.run.finish.SMALLEST_CHANGE", 0.0)
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    few = {"steps": 40, "sampling_steps": 4, "rank": 1, "neighbours": 8, "synonym_states": 1}
    space = {"vocabulary": "file", "vocabulary_file": str(tmp_path / "words.txt"), "synonym_threshold": 1e-4}
    config = config_from_dict({"erase": ["church"], **few, **space, **changes})
    counted, sizes = _counted(tiny_checkpoint, tmp_path, config, monkeypatch)
    told = forecast_rows(config, sizes)
    # Nothing is near enough by s(c) to be judged.
    assert told["synonyms"] == counted["synonyms"] + judged_rows(config, config.neighbours)
    assert told["check"] == counted["check"]
    # Neighbours of several targets, and what is preserved by name, are judged once.
    assert 0.5 * told["verdict"].total <= counted["verdict"].total <= told["verdict"].total
    # A run may end after fewer looks than it could make.
    assert counted["looks"].total <= told["looks"].total
    # Fewer words than there could be, and names that were measured; made stronger only as far as need be.
    most = strengthening_rows(config, PANEL_SIZES.names).total
    assert 0.4 * (told["start"].total - most) <= counted["start"].total <= told["start"].total
    # The most wordings there can be of a target, of which this one has fewer.
    assert bool(counted["hostile"].total) == (config.robust == "words")
    assert counted["hostile"].total <= told["hostile"].total
    # What is preserved by name may be one of the neighbours that are drawn anyway.
    spare = 0.25 if config.preserve else 0
    # The word that is hurt most is drawn only if one is found to be hurt.
    hurt = DRAW_SETTINGS.rows(HURT_SHOWN * len(SEEDS)) * 2 if config.judged_words else Rows()
    least = told["pictures"].total - hurt.total
    assert (1 - spare) * least <= counted["pictures"].total <= told["pictures"].total
    assert told["pictures"].calls - hurt.calls <= counted["pictures"].calls <= told["pictures"].calls
    found, expected = dataclasses.asdict(told["training"]), dataclasses.asdict(counted["training"])
    assert found == pytest.approx(expected, rel=0.1)
    assert set(counted) <= set(told), "every row has a purpose that was told"


@pytest.mark.parametrize("robust", ["words", "embeddings"])
def test_a_run_that_ends_early_is_told_hostile_prompts_of_a_sole_look(robust: str) -> None:
    off, held = (config_from_dict({"erase": ["church", "radio", "dog"], "robust": r}) for r in ("off", robust))
    looks = [forecast_rows(config, updates=soonest_end(config))["looks"] for config in (off, held)]
    assert looks[1] == looks[0] + JUDGE_SETTINGS.rows(SECOND_LOOK, SECOND_LOOK) * 3, "of each target"


def test_as_many_other_names_are_told_to_be_judged_as_can_be_found() -> None:
    told = [
        forecast_rows(config_from_dict({"erase": ["church", "radio"], **changes}))["verdict"].total
        for changes in ({"synonym_threshold": 0}, {"synonym_threshold": 0, "synonym": ["chapel"]}, {})
    ]
    pictures = PANEL_SIZES.name_pictures * 2  # of one name of each target
    each = sum(JUDGE_SETTINGS.rows(pictures, pictures).total for _ in ("before", "after"))
    assert [rows - told[0] for rows in told] == [0, each, PANEL_SIZES.names * each]


def test_candidates_that_come_near_are_told_by_their_share() -> None:
    config = config_from_dict({"erase": ["church"], "neighbours": 100, "synonym_states": 6})
    least = forecast_rows(with_changes(config, synonym_states=2))["synonyms"].total
    most = least + 4 * 100 + 2 * 4
    assert least < forecast_rows(config)["synonyms"].total < most


def test_rows_go_to_the_innermost_purpose() -> None:
    book = RowBook()
    book.count(1)
    with book.purpose("training"):
        book.count(4, gradient=True)
        with book.purpose("pictures"):
            book.count(2)
        book.count(3)
    with pytest.raises(ValueError, match="inside"), book.purpose("check"):
        raise ValueError("inside")
    book.count(5)
    assert book["training"] == Rows(7, 4, 2)
    assert book["pictures"] == Rows(2, 0, 1)
    assert book["other"] == Rows(6, 0, 2)
    assert book["check"] == Rows()
    assert book.all == Rows(15, 4, 5)


def test_rows_are_counted_with_the_gradient_they_are_kept_for(tiny_models: Any) -> None:
    denoiser = Denoiser(tiny_models.unet)
    z, t, prompts = torch.zeros(2, 4, 8, 8), torch.tensor([1, 2]), Conditioning(torch.zeros(2, 77, 32))
    denoiser(z, t, prompts)
    with torch.no_grad():
        denoiser(z, t, prompts)
    assert denoiser.rows["other"] == Rows(4, 2, 2)
