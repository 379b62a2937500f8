"""Miniatures of Stable Diffusion 2 and XL: their start from the model that ships, what they learn, their files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from emoji_sd import MODEL
from emoji_sd.captions import all_captions
from emoji_sd.concepts import STYLES
from emoji_sd.making import vae as vae_making
from emoji_sd.making.batches import Batches
from emoji_sd.making.distillation import Captions, Distillation, tell, v_of
from emoji_sd.making.export import TOKENIZER_FILES
from emoji_sd.making.export_miniature import export, ldm_config, open_clip_architecture, rescaled_vae
from emoji_sd.making.miniature import MINIATURES, SD2V, SDXL, SPREAD, Miniature, read_states
from emoji_sd.making.miniature_text import END, PADDING, POOLED, clip_encoder, open_clip_encoder
from emoji_sd.making.miniature_unet import XL_CHANNELS, linear_unet, xl_unet
from emoji_sd.making.text_encoder import make_config
from emoji_sd.making.unet import Settings, train
from emoji_sd.making.width import SHIPPED, TEXT_STATES
from emoji_sd.original_layout import clip_state, open_clip_state
from erasure.model.checkpoint import OriginalFile, inspect_checkpoint
from erasure.model.open_clip import clip_names
from tests.tiny import CLIP

needs_weights = pytest.mark.skipif(not MODEL.exists(), reason="emoji-SD's weights are not in this checkout")


def shaken(part: torch.nn.Module) -> Any:
    """The part, with gains and shifts of its norms and all biases random too."""
    with torch.no_grad():
        for parameter in part.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return part.eval()


@pytest.fixture(scope="module")
def shipped_unet() -> UNet2DConditionModel:
    """A U-Net of the layout that ships, with random weights."""
    torch.manual_seed(0)
    unet: UNet2DConditionModel = shaken(UNet2DConditionModel(**SHIPPED.unet_config()))
    return unet


def text_encoder(activation: str = "quick_gelu") -> CLIPTextModel:
    """A text encoder of the layout that ships, with two layers and random weights."""
    torch.manual_seed(1)
    config = {**make_config().to_dict(), "num_hidden_layers": 2, "hidden_act": activation}
    encoder: CLIPTextModel = shaken(CLIPTextModel(CLIPTextConfig.from_dict(config)))
    return encoder


@pytest.fixture(scope="module")
def xl(shipped_unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The start of SDXL's layout."""
    torch.manual_seed(2)
    return xl_unet(shipped_unet, text_encoder(), SPREAD).eval()


def tokens(padding: int = END) -> Tensor:
    """Three prompts of different lengths."""
    ids = torch.randint(1, 49405, (3, 77), generator=torch.Generator().manual_seed(3))
    ids[:, 0] = 49406
    for row, end in enumerate((2, 9, 40)):
        ids[row, end], ids[row, end + 1 :] = END, padding
    return ids


def work_folder(work: Path, miniature: Miniature) -> Path:
    """What the steps before leave, with random weights, eight random latents and one text state for all captions."""
    torch.manual_seed(4)
    work.mkdir(exist_ok=True)
    z = np.random.default_rng(0).standard_normal((8, 4, 16, 16)).astype(np.float16)
    np.savez(work / "latents-0.npz", z=z, concepts=np.arange(8), styles=np.arange(8) % len(STYLES))
    np.save(work / "captions.npy", np.zeros((1, 77, TEXT_STATES), np.float16))
    rows = {"": 0, **{caption: 0 for caption, _, _ in all_captions()}}
    (work / "captions.json").write_text(json.dumps(rows))
    text_encoder().save_pretrained(work / "text_encoder")
    AutoencoderKL(**vae_making.CONFIG).save_pretrained(work / "vae")
    (work / "tokenizer").mkdir()
    for name in TOKENIZER_FILES:
        shutil.copy(CLIP / name, work / "tokenizer" / name)
    miniature.run_folder(work).mkdir()
    return work


@torch.no_grad()
def test_linear_projections_predict_what_convolutions_do(shipped_unet: UNet2DConditionModel) -> None:
    linear = linear_unet(shipped_unet).eval()
    assert linear.state_dict()["mid_block.attentions.0.proj_in.weight"].dim() == 2
    generator = torch.Generator().manual_seed(5)
    z, text = (torch.randn(shape, generator=generator) for shape in ((2, 4, 16, 16), (2, 77, TEXT_STATES)))
    t = torch.tensor([3, 900])
    torch.testing.assert_close(linear(z, t, text).sample, shipped_unet(z, t, text).sample, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_states_before_the_last_layer_are_those_that_ship() -> None:
    shipped = text_encoder()
    longer = clip_encoder(shipped)
    found = longer(tokens(), output_hidden_states=True)
    own = shipped(tokens(), output_hidden_states=True)
    assert longer.config.num_hidden_layers == 3
    torch.testing.assert_close(found.hidden_states[-2], own.hidden_states[-1])
    assert not torch.allclose(found.last_hidden_state, own.last_hidden_state, atol=0.01)


@torch.no_grad()
def test_stable_diffusion_2_reads_the_states_that_ship() -> None:
    shipped = text_encoder("gelu")
    states, _ = read_states(SD2V, SD2V.text_encoders(shipped), tokens(PADDING))
    torch.testing.assert_close(states, shipped(tokens()).last_hidden_state)


@torch.no_grad()
def test_xl_reads_the_states_before_the_norm_twice_and_a_pooled_text() -> None:
    shipped = text_encoder("gelu")
    states, pooled = read_states(SDXL, SDXL.text_encoders(shipped), tokens())
    own = shipped(tokens(), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(states, torch.cat([own, own], dim=-1))
    assert pooled.shape == (3, POOLED)
    assert not torch.allclose(pooled[0], pooled[1], atol=0.01)


def test_open_clips_activation_is_the_exact_one_and_its_padding_token_0() -> None:
    config = open_clip_encoder(text_encoder()).config
    assert (config.hidden_act, config.pad_token_id, config.eos_token_id) == ("gelu", PADDING, END)


def test_open_clips_names_lead_back_to_transformers() -> None:
    weights = clip_state(open_clip_encoder(text_encoder()).state_dict())
    back = clip_state(clip_names(open_clip_state(weights), projection=True))
    assert set(back) == set(weights)
    for name, value in weights.items():
        torch.testing.assert_close(back[name], value)


@pytest.mark.parametrize("miniature", [SD2V, SDXL], ids=["sd2v", "sdxl"])
def test_the_yaml_names_what_web_uis_build_and_holds_nothing_that_they_refuse(miniature: Miniature) -> None:
    document = ldm_config(miniature)["model"]
    parameters = document["params"]
    if miniature.xl:
        # The parameters of generative-models' DiffusionEngine.
        assert set(parameters) <= {
            *("scale_factor", "disable_first_stage_autocast", "network_config"),
            *("denoiser_config", "first_stage_config", "conditioner_config"),
        }
        assert document["image_size"] == 16
        told = parameters["conditioner_config"]["params"]["emb_models"][1]["params"]
    else:
        assert parameters["image_size"] == 16
        told = parameters["cond_stage_config"]["params"]
    assert told["arch"] == miniature.title
    sizes = open_clip_architecture(open_clip_encoder(text_encoder()))
    assert sizes["embed_dim"] == POOLED
    assert sizes["text_cfg"] == {
        "context_length": 77,
        "vocab_size": 49408,
        "width": TEXT_STATES,
        "heads": 4,
        "layers": 3,
    }


@torch.no_grad()
def test_xl_attends_to_states_before_the_norm_as_the_shipped_unet_to_those_after(
    shipped_unet: UNet2DConditionModel, xl: UNet2DConditionModel
) -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn((2, 77, TEXT_STATES), generator=generator)
    x = SPREAD * (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, unbiased=False) + 0.3
    queries = torch.randn((2, 64, 128), generator=generator)
    norm = next(module for name, module in text_encoder().named_modules() if name.endswith("final_layer_norm"))
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"
    own = shipped_unet.get_submodule(name)(queries, norm(x))
    found = xl.get_submodule(name)(queries, torch.cat([x, x], dim=-1))
    torch.testing.assert_close(found, own, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_blocks_that_xl_adds_change_nothing_at_first(xl: UNet2DConditionModel) -> None:
    depths = {}
    for name, part in xl.named_modules():
        if name.endswith(".transformer_blocks"):
            depths[name] = len(part)
            x = torch.randn((2, 16, part[0].norm1.weight.numel()), generator=torch.Generator().manual_seed(7))
            text = torch.randn((2, 5, 2 * TEXT_STATES), generator=torch.Generator().manual_seed(8))
            for block in part[1:]:
                assert torch.equal(block(x, encoder_hidden_states=text), x)
            assert not torch.allclose(part[0](x, encoder_hidden_states=text), x, atol=0.01)
    assert sorted(depths.values()) == [2] * 5 + [10] * 6


@torch.no_grad()
def test_xl_does_not_heed_pooled_text_and_sizes_at_first(xl: UNet2DConditionModel) -> None:
    generator = torch.Generator().manual_seed(9)
    z, text = (torch.randn(shape, generator=generator) for shape in ((1, 4, 16, 16), (1, 77, 2 * TEXT_STATES)))
    first, second = torch.randn((2, 1, POOLED), generator=generator)
    outputs = [xl(z, 500, **tell(text, pooled)).sample for pooled in (first, second)]
    assert torch.equal(outputs[0], outputs[1])
    assert outputs[0].shape == z.shape


def test_xl_keeps_the_layers_that_it_shares_with_the_shipped_unet(
    shipped_unet: UNet2DConditionModel, xl: UNet2DConditionModel
) -> None:
    own, found = shipped_unet.state_dict(), xl.state_dict()
    assert tuple(xl.config.block_out_channels) == XL_CHANNELS
    for name, source in (
        ("conv_in.weight", "conv_in.weight"),
        ("down_blocks.1.resnets.0.conv1.weight", "down_blocks.1.resnets.0.conv1.weight"),
        ("up_blocks.2.resnets.0.conv1.weight", "up_blocks.3.resnets.0.conv1.weight"),
        ("up_blocks.1.resnets.2.conv1.weight", "up_blocks.2.resnets.2.conv1.weight"),
    ):
        assert torch.equal(found[name], own[source])
    # Where its coarsest level is narrower, every second channel: of what comes from below, beside the skip connection.
    narrow, wide = found["up_blocks.1.resnets.0.conv1.weight"], own["up_blocks.2.resnets.0.conv1.weight"]
    assert torch.equal(narrow, torch.cat([wide[:, :128:2], wide[:, 128:]], dim=1))


@torch.no_grad()
def test_a_vae_of_another_scale_has_the_same_scaled_latents_and_pictures() -> None:
    torch.manual_seed(10)
    vae = AutoencoderKL(**vae_making.CONFIG).eval()
    other = rescaled_vae(vae, 0.13025)
    pictures, z = torch.rand((1, 3, 32, 32)), torch.randn((1, 4, 4, 4))
    latents = [each.encode(pictures).latent_dist for each in (vae, other)]
    scales = [each.config["scaling_factor"] for each in (vae, other)]
    assert scales == [0.18215, 0.13025]
    torch.testing.assert_close(latents[1].mean * scales[1], latents[0].mean * scales[0])
    torch.testing.assert_close(latents[1].std * scales[1], latents[0].std * scales[0])
    decoded = [each.decode(z / scale).sample for each, scale in zip((vae, other), scales, strict=True)]
    torch.testing.assert_close(decoded[1], decoded[0])


def test_v_is_that_of_the_noise_and_the_picture() -> None:
    x0, eps = torch.randn((2, 3, 4, 2, 2), generator=torch.Generator().manual_seed(11))
    alpha_bar = torch.tensor([0.9, 0.5, 0.01])
    level = alpha_bar.view(-1, 1, 1, 1)
    noisy = level.sqrt() * x0 + (1 - level).sqrt() * eps
    wanted = level.sqrt() * eps - (1 - level).sqrt() * x0
    torch.testing.assert_close(v_of(eps, noisy, alpha_bar), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("miniature", [SD2V, replace(SDXL, alike=())], ids=["v", "noise"])
def test_a_student_that_predicts_what_its_teacher_does_has_no_loss(
    tmp_path: Path, shipped_unet: UNet2DConditionModel, miniature: Miniature
) -> None:
    batch = Batches(work_folder(tmp_path, miniature)).draw(0, 0, 3)

    def student(noisy: Tensor, t: Tensor, **_: Any) -> SimpleNamespace:
        eps = shipped_unet(noisy, t, batch.text).sample
        return SimpleNamespace(sample=v_of(eps, noisy, batch.alpha_bar) if miniature is SD2V else eps)

    def wrong(noisy: Tensor, t: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(sample=student(noisy, t).sample + 0.1)

    loss_of = Distillation(miniature, tmp_path, shipped_unet, torch.nn.Identity())
    with torch.no_grad():
        assert loss_of(student, batch) < 1e-9
        assert loss_of(wrong, batch) > 1e-4


def test_xl_is_told_zeros_in_place_of_the_empty_caption(tmp_path: Path) -> None:
    captions = Captions(SDXL, work_folder(tmp_path, SDXL))
    states, pooled = captions((0, 1))
    assert pooled is not None
    assert states.shape == (2, 77, 2 * TEXT_STATES)
    assert not states[0].any()
    assert not pooled[0].any()
    assert states[1].any()
    assert pooled[1].any()


@pytest.mark.slow
@needs_weights
@pytest.mark.parametrize("name", MINIATURES)
def test_a_miniature_is_trained_resumed_and_opened_like_any_checkpoint(tmp_path: Path, name: str) -> None:
    miniature = MINIATURES[name]
    work = work_folder(tmp_path / "work", miniature)
    for steps in (1, 2):
        train(0, 1, Settings(work, steps=steps, batch=1, lr=1e-3, miniature=miniature))
    made = json.loads((miniature.run_folder(work) / "made.json").read_text())
    assert made == {"miniature": name, "from_shipped": True, "batch": 1, "lr": 1e-3, "steps": 2}
    # Loads it and compares the outputs.
    checkpoint = export(miniature, work, tmp_path / "out")
    info = inspect_checkpoint(checkpoint)
    assert checkpoint.name == {"sd2v": "emoji-sd-2v.safetensors", "sdxl": "emoji-sdxl.safetensors"}[name]
    assert info.family.short == {"sd2v": "SD 2.x", "sdxl": "SDXL"}[name]
    assert isinstance(info.contents, OriginalFile)
    assert info.contents.config.latent_side == 16
