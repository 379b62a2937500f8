"""Variants of emoji-SD of other widths: their sizes, their start from narrower weights, their files."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

import emoji_sd.__main__ as command
from emoji_sd import FOLDER, MODEL, measure
from emoji_sd.captions import all_captions
from emoji_sd.concepts import STYLES
from emoji_sd.making import on_gpu
from emoji_sd.making import unet as unet_making
from emoji_sd.making import vae as vae_making
from emoji_sd.making.export import TOKENIZER_FILES, export
from emoji_sd.making.precision import autocast
from emoji_sd.making.shipped import take_shipped
from emoji_sd.making.text_encoder import make_config
from emoji_sd.making.unet import Settings, peak_rate, train
from emoji_sd.making.widen_text import widened_text_encoder
from emoji_sd.making.widen_unet import widened_unet
from emoji_sd.making.width import FULL, SHIPPED, TEXT_STATES, WIDTHS, Width
from erasure.families.sd1 import SD1
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.loading import load_parts
from erasure.model.model import open_model
from tests.tiny import CLIP

NARROW = Width((32, 64, 64, 64), heads=4, context=TEXT_STATES)
TWICE = Width((64, 128, 128, 128), heads=4, context=TEXT_STATES)
# As SD 1.x differs from the model that ships: uneven factors, other heads, wider text states, a level more.
UNEVEN = Width((64, 128, 256, 256), heads=8, context=768)

needs_weights = pytest.mark.skipif(not MODEL.exists(), reason="emoji-SD's weights are not in this checkout")


def random_unet(width: Width) -> UNet2DConditionModel:
    """A U-Net in which the norms' gains and shifts are random too."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**width.unet_config())
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return unet.eval()


@torch.no_grad()
def distance(narrow: UNet2DConditionModel, wide: UNet2DConditionModel, width: Width) -> float:
    """How far the predictions of both are from each other, relative to the narrow one's."""
    generator = torch.Generator().manual_seed(1)
    z, text = (torch.randn(shape, generator=generator) for shape in ((3, 4, 16, 16), (3, 77, TEXT_STATES)))
    t = torch.tensor([20, 500, 980])
    own = narrow(z, t, text).sample
    return float((wide.eval()(z, t, text @ width.text_map().T).sample - own).norm() / own.norm())


def training_data(work: Path) -> Path:
    """What ``latents`` leaves, with eight random latents and one text state for all captions."""
    z = np.random.default_rng(0).standard_normal((8, 4, 16, 16)).astype(np.float16)
    np.savez(work / "latents-0.npz", z=z, concepts=np.arange(8), styles=np.arange(8) % len(STYLES))
    np.save(work / "captions.npy", np.zeros((1, 77, TEXT_STATES), np.float16))
    (work / "captions.json").write_text(json.dumps({caption: 0 for caption, _, _ in all_captions()}))
    return work


def trained_parts(work: Path, width: Width) -> Path:
    """What the other steps leave, with random weights."""
    torch.manual_seed(0)
    width.run_folder(work).mkdir(parents=True)
    torch.save(UNet2DConditionModel(**width.unet_config()).state_dict(), width.run_folder(work) / "ema.pt")
    AutoencoderKL(**vae_making.CONFIG).save_pretrained(work / "vae")
    CLIPTextModel(make_config()).save_pretrained(work / "text_encoder")
    (work / "tokenizer").mkdir()
    for name in TOKENIZER_FILES:
        shutil.copy(CLIP / name, work / "tokenizer" / name)
    return work


@pytest.mark.parametrize("has", [True, False])
def test_bf16_is_taken_only_by_a_cpu_with_instructions_for_it(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoji_sd.making.precision._has_bf16", lambda: has)
    one = torch.ones(2, 2)
    with autocast("cpu"):
        assert (one @ one).dtype == (torch.bfloat16 if has else torch.float32)


def test_the_full_width_has_the_parameters_of_stable_diffusions_unet() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**FULL.unet_config())
    assert sum(parameter.numel() for parameter in unet.parameters()) == SD1.full.unet


def test_the_default_width_is_the_one_that_ships() -> None:
    assert WIDTHS[64] == SHIPPED
    assert SHIPPED.run_folder(Path("work")) == Path("work/run")
    assert peak_rate(SHIPPED) == unet_making.PEAK


def test_wider_ones_scale_all_levels_alike() -> None:
    assert {width.channels[0]: width.repeats(SHIPPED) for width in WIDTHS.values()} == {
        64: True,
        96: False,  # by one and a half
        128: True,
        320: False,  # by five and by ten
    }
    assert {wide / own for wide, own in zip(WIDTHS[96].channels, SHIPPED.channels, strict=True)} == {1.5}


def test_the_map_of_text_states_keeps_lengths_and_angles() -> None:
    q = FULL.text_map()
    assert q.shape == (768, 96)
    torch.testing.assert_close(q.T @ q, torch.eye(96))
    states = torch.randn(5, 96, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((states @ q.T).norm(dim=1), states.norm(dim=1))
    assert torch.equal(q, FULL.text_map())


def test_the_wide_text_encoder_gives_the_mapped_states_of_the_narrow_one() -> None:
    torch.manual_seed(0)
    config = {**make_config().to_dict(), "vocab_size": 200, "eos_token_id": 199, "num_hidden_layers": 2}
    narrow = CLIPTextModel(CLIPTextConfig.from_dict(config)).eval()
    with torch.no_grad():
        for parameter in narrow.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        wide = widened_text_encoder(narrow, FULL)
        ids = torch.randint(0, 199, (3, 77))
        own, mapped = (model(ids).last_hidden_state for model in (narrow, wide))
    assert wide.config.hidden_size == 768
    assert wide.config.num_attention_heads == 12
    torch.testing.assert_close(mapped, own @ FULL.text_map().T, atol=1e-4, rtol=1e-4)
    assert widened_text_encoder(narrow, SHIPPED) is narrow


def test_a_unet_that_is_twice_as_wide_computes_the_same() -> None:
    narrow = random_unet(NARROW)
    assert distance(narrow, widened_unet(narrow, NARROW, TWICE, noise=0), TWICE) < 1e-5


def test_a_unet_with_wider_text_states_and_more_heads_computes_the_same() -> None:
    narrow, wide = random_unet(NARROW), Width((64, 128, 128, 128), heads=8, context=768)
    assert distance(narrow, widened_unet(narrow, NARROW, wide, noise=0), wide) < 1e-5


def test_an_unevenly_wider_unet_computes_about_the_same() -> None:
    narrow = random_unet(NARROW)
    assert distance(narrow, widened_unet(narrow, NARROW, UNEVEN, noise=0), UNEVEN) < 0.1
    assert distance(narrow, random_unet(UNEVEN), UNEVEN) > 0.5


def test_noise_on_the_start_makes_repeated_channels_differ() -> None:
    narrow = random_unet(NARROW)
    name = "mid_block.resnets.0.conv1.weight"
    same, noisy = (widened_unet(narrow, NARROW, TWICE, noise=noise).state_dict()[name] for noise in (0, 0.05))
    assert torch.equal(same[0::2], same[1::2])
    assert not torch.equal(noisy[0::2], noisy[1::2])
    assert 0.03 < float((noisy - same).std() / same.std()) < 0.07


@pytest.mark.slow
@pytest.mark.parametrize("width", [NARROW, UNEVEN], ids=["narrow", "SD's layout"])
def test_an_exported_variant_is_opened_like_any_checkpoint(tmp_path: Path, width: Width) -> None:
    work = trained_parts(tmp_path / "work", width)
    (width.run_folder(work) / "made.json").write_text('{"from_shipped": true}')
    checkpoint = export(work, tmp_path / "out", width)
    model = open_model(inspect_checkpoint(checkpoint))
    assert checkpoint.stem == f"emoji-sd-{width.channels[0]}"
    assert tuple(model.unet.config.block_out_channels) == width.channels
    assert model.unet.config.attention_head_dim == width.heads
    assert model.unet.config.cross_attention_dim == width.context
    own = CLIPTextModel.from_pretrained(work / "text_encoder").eval()
    with torch.no_grad():
        ids = torch.randint(0, 49407, (2, 77), generator=torch.Generator().manual_seed(0))
        wide = load_parts(checkpoint).text_encoder(ids).last_hidden_state
        torch.testing.assert_close(wide, own(ids).last_hidden_state @ width.text_map().T, atol=0.02, rtol=0.02)


def test_training_writes_weights_how_they_were_made_and_what_resumes_them(tmp_path: Path) -> None:
    work = training_data(tmp_path)
    run = NARROW.run_folder(work)
    train(0, 1, Settings(work, steps=2, batch=2, lr=1e-3, width=NARROW))
    UNet2DConditionModel(**NARROW.unet_config()).load_state_dict(torch.load(run / "ema.pt"))
    made = json.loads((run / "made.json").read_text())
    assert made == {"channels": list(NARROW.channels), "from_shipped": False, "batch": 2, "lr": 1e-3, "steps": 2}
    train(0, 1, Settings(work, steps=3, batch=2, lr=1e-3, width=NARROW))
    assert json.loads((run / "made.json").read_text())["steps"] == 3


def test_a_run_is_not_resumed_as_if_it_had_started_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = training_data(tmp_path)
    train(0, 1, Settings(work, steps=1, batch=2, lr=1e-3, width=NARROW))
    monkeypatch.setattr(unet_making, "start", lambda width, from_shipped: random_unet(width))
    with pytest.raises(ValueError, match="started from random weights"):
        train(0, 1, Settings(work, steps=2, batch=2, lr=1e-3, width=NARROW, from_shipped=True))


def test_training_ends_when_its_time_is_over(tmp_path: Path) -> None:
    work = training_data(tmp_path)
    train(0, 1, Settings(work, steps=1000, batch=2, lr=1e-3, width=NARROW, seconds=0.01, resumable=False))
    run = NARROW.run_folder(work)
    assert json.loads((run / "made.json").read_text())["steps"] < 1000
    assert not (run / "state.pt").exists()


def test_figures_of_a_variant_are_judged_by_the_shipped_classifier_and_saved_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def blank(names: tuple[str, ...], **_: Any) -> list[Image.Image]:
        return [Image.new("RGB", (128, 128))] * (len(names) * len(STYLES))

    shipped = (FOLDER / "figures.json").read_bytes()
    monkeypatch.setattr(measure, "draw", blank)
    checkpoint = tmp_path / "emoji-sd-128.safetensors"
    arguments = ["emoji_sd", "measure", "--every", "20", "--save", "--checkpoint", str(checkpoint)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert command.main() == 0
    assert json.loads((tmp_path / "figures.json").read_text()) == json.loads(capsys.readouterr().out)
    assert (FOLDER / "figures.json").read_bytes() == shipped


@needs_weights
def test_shipped_parts_stand_in_for_trained_ones(tmp_path: Path) -> None:
    take_shipped(tmp_path)
    vae = AutoencoderKL.from_pretrained(tmp_path / "vae")
    weights = load_file(MODEL)
    torch.testing.assert_close(
        vae.state_dict()["decoder.conv_in.weight"], weights["first_stage_model.decoder.conv_in.weight"].float()
    )
    text = CLIPTextModel.from_pretrained(tmp_path / "text_encoder")
    assert text.config.hidden_size == TEXT_STATES
    assert {path.name for path in (tmp_path / "tokenizer").iterdir()} == set(TOKENIZER_FILES)
    assert (tmp_path / "classifier.safetensors").read_bytes() == (FOLDER / "classifier.safetensors").read_bytes()


@pytest.mark.slow
@needs_weights
def test_a_run_on_a_gpu_brings_back_figures_and_pictures_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, with a tiny U-Net, two steps of training and one erasure by the closed form."""
    work, out = training_data(trained_parts(tmp_path / "work", NARROW)), tmp_path / "out"
    monkeypatch.setattr(on_gpu, "sample_sheet", lambda **_: Image.new("RGB", (8, 8)))
    # A U-Net that has hardly been trained hardly listens to its prompt.
    monkeypatch.setattr("erasure.run.finish.SMALLEST_CHANGE", 0.0)
    settings = Settings(work, steps=2, batch=2, lr=1e-3, width=NARROW, seconds=60, resumable=False)
    flags = "--sets doubles-1 --methods uce --limit 1 --picture-steps 2 --neighbours 2"
    figures = on_gpu.run(settings, out, every=100, flags=[flags])
    assert {path.name for path in out.iterdir()} == {"figures.json", "samples.png", "erased.png"}
    assert json.loads((out / "figures.json").read_text()) == json.loads(json.dumps(figures))
    assert set(figures["seconds"]) == {"prepare", "train", "export", "measure", "erase"}
    assert [row["set"] for row in figures["erased"]] == ["doubles-1"]
    assert figures["failed"] == []
