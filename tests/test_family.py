"""A family of models is one description: a made-up second one is recognised, named and sized without another change."""

from __future__ import annotations

import dataclasses
import json
import shutil
from datetime import datetime, timezone
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from erasure.config.values import config_from_dict
from erasure.errors import LoraFileError, UnsupportedCheckpoint
from erasure.families.family import Family, LoraNames, Marks
from erasure.families.known import RELATIVES, relatives_besides
from erasure.families.sd1 import SD1
from erasure.jobs.estimate import memory_bytes
from erasure.lora.adapter import inject_lora, lora_state, remove_lora
from erasure.lora.explain import explain_lora
from erasure.lora.file import read_lora, write_lora
from erasure.lora.metadata import lora_metadata
from erasure.lora.model_adapter import apply_lora_file
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.loading import load_parts
from erasure.model.parts import ModelParts
from erasure.run.card import write_card
from tests.test_lora import randomise
from tests.test_models import assert_same

WIDTH = 1024
MADE_UP = dataclasses.replace(
    SD1,
    name="Stable Diffusion 2",
    short="SD 2",
    marks=Marks(
        text_names=("second_stage.",), context=(WIDTH,), text_classes=("OpenCLIP",), lora_metadata=(("ss_v2", "True"),)
    ),
    parts=dataclasses.replace(SD1.parts, text="second_stage."),
    text_encoders=(dataclasses.replace(SD1.text_encoders[0], prefix="second_stage.clip."),),
    lora=LoraNames("lora_second_", version="sd_v2", v2="True", architecture="stable-diffusion-v2/lora", card="SD2"),
    full=dataclasses.replace(SD1.full, unet=2 * SD1.full.unet, pixels=768),
)
BOTH = (SD1, MADE_UP)
TEXT = "cond_stage_model.transformer."


@pytest.fixture
def second(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint as the made-up family has it: its text encoder goes by another name."""
    state = {
        name.replace(TEXT, MADE_UP.text_encoders[0].prefix) if name.startswith(TEXT) else name: tensor
        for name, tensor in load_file(tiny_checkpoint).items()
    }
    save_file(state, tmp_path / "tiny.safetensors")
    shutil.copy(tiny_checkpoint.with_suffix(".yaml"), tmp_path / "tiny.yaml")
    shutil.copytree(tiny_checkpoint.with_name("tiny-text"), tmp_path / "tiny-text")
    return tmp_path / "tiny.safetensors"


# --- recognised


def test_a_file_of_another_family_is_recognised_loaded_and_sized(
    second: Path, tiny_checkpoint: Path, tiny_models: ModelParts
) -> None:
    info, first = inspect_checkpoint(second, BOTH), inspect_checkpoint(tiny_checkpoint, BOTH)
    assert (info.family, first.family) == (MADE_UP, SD1)
    assert info.size == first.size
    assert_same(load_parts(info), tiny_models)


def test_what_is_no_entry_is_refused_by_name(second: Path) -> None:
    with pytest.raises(UnsupportedCheckpoint, match=r"a U-Net without text encoder, not an SD 1\.x"):
        inspect_checkpoint(second, (SD1,))


def test_a_relative_that_became_a_family_is_no_stranger() -> None:
    names = [relative.name for relative in relatives_besides(BOTH)]
    assert names == [relative.name for relative in RELATIVES if relative.name != MADE_UP.name]


def test_advice_names_every_family(tmp_path: Path) -> None:
    save_file({"layer": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(
        UnsupportedCheckpoint,
        match=r"not an SD 1\.x or SD 2 text.*Choose a Stable Diffusion 1\.x or Stable Diffusion 2 checkpoint",
    ):
        inspect_checkpoint(tmp_path / "other.safetensors", BOTH)


@pytest.mark.parametrize("families", [(SD1,), BOTH])
def test_a_folder_of_another_family_is_told_by_its_text_width(
    families: tuple[Family, ...], tiny_diffusers_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_diffusers_folder, folder)
    for part, key in (("unet", "cross_attention_dim"), ("text_encoder", "hidden_size")):
        path = folder / part / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), key: WIDTH}), encoding="utf-8")
    if families == BOTH:
        assert inspect_checkpoint(folder, families).family == MADE_UP
    else:
        with pytest.raises(UnsupportedCheckpoint, match="a Stable Diffusion 2 model"):
            inspect_checkpoint(folder, families)
    assert inspect_checkpoint(tiny_diffusers_folder, families).family == SD1


def test_a_yaml_of_another_family_is_refused(second: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    text = second.with_suffix(".yaml").read_text(encoding="utf-8")
    second.with_suffix(".yaml").write_text(text.replace("FrozenCLIPEmbedder", "FrozenOpenCLIPEmbedder"))
    assert inspect_checkpoint(second, BOTH).family == MADE_UP
    shutil.copy(tiny_checkpoint, second)
    with pytest.raises(UnsupportedCheckpoint, match="a Stable Diffusion 2 model"):
        inspect_checkpoint(second, BOTH)


# --- named


def lora_of(models: ModelParts, path: Path, family: Family) -> Path:
    inject_lora(models.unet, "xattn_kv", 2, 2.0, seed=0)
    randomise(models.unet)
    metadata = lora_metadata(
        name=path.stem,
        family=family,
        config={"erase": ["church"]},
        base_name="base.safetensors",
        base_sha256=None,
        base_short_hash=None,
        cover=None,
        steps=1,
        finished=datetime(2024, 5, 6, tzinfo=timezone.utc),
    )
    write_lora(path, lora_state(models.unet), family=family, alpha=2.0, metadata=metadata)
    remove_lora(models.unet)
    return path


def test_a_lora_has_the_names_of_its_family_and_comes_back(tiny_models: ModelParts, tmp_path: Path) -> None:
    path = lora_of(tiny_models, tmp_path / "gone.safetensors", MADE_UP)
    file = read_lora(path, BOTH)
    assert file.family == MADE_UP
    assert all(module.startswith("lora_second_") for module in file.modules)
    wanted = {
        "ss_base_model_version": "sd_v2",
        "ss_v2": "True",
        "modelspec.architecture": "stable-diffusion-v2/lora",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "768x768",
    }
    assert {key: file.metadata[key] for key in wanted} == wanted
    apply_lora_file(tiny_models.modules, file)
    assert "a LoRA for Stable Diffusion 2 in kohya's layout" in str(explain_lora(path, BOTH))
    with pytest.raises(LoraFileError, match=r"a LoRA for Stable Diffusion 2; a LoRA for an SD 1\.x model"):
        read_lora(path, (SD1,))


def test_a_lora_without_words_is_told_by_its_text_width(tmp_path: Path) -> None:
    key = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    for family, width in ((SD1, 768), (MADE_UP, WIDTH)):
        name = family.lora.prefix + key
        parts = {f"{name}.lora_down.weight": torch.ones(2, width), f"{name}.lora_up.weight": torch.ones(3, 2)}
        save_file(parts, tmp_path / "lora.safetensors")
        assert read_lora(tmp_path / "lora.safetensors", BOTH).family == family


def test_a_card_says_the_version_of_its_family(tmp_path: Path) -> None:
    (card,) = write_card(tmp_path / "gone.safetensors", "Erases church", version=MADE_UP.lora.card)
    assert json.loads(card.read_text(encoding="utf-8"))["sd version"] == "SD2"


# --- sized


def test_forecasts_scale_from_the_familys_own_full_size(second: Path) -> None:
    info, config = inspect_checkpoint(second, BOTH), config_from_dict({"erase": ["church"], "resolution": 768})
    measured = [dataclasses.replace(family.full, decoding=0) for family in (MADE_UP, SD1)]
    weights = memory_bytes(config, dataclasses.replace(info.size, unet=0), measured[0]) + info.size.unet * 4
    updates = [memory_bytes(config, info.size, full) - weights for full in measured]
    # Twice as wide by weights, and measured on pictures of 768 pixels instead of 512.
    assert updates[1] / updates[0] == pytest.approx((768 / 512) ** 2 * 2**0.5, rel=1e-3)
