"""load_parts: the same weights from every layout, frozen and offline; what does not fit is named."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from emoji_sd.original_layout import unet_key, vae_key
from erasure.errors import BrokenCheckpoint
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.loading import load_parts
from erasure.model.parts import ModelParts
from tests import tiny

PARTS = ("unet", "vae", "text_encoder")
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
OUT = UNET + "out.2.weight"
State = dict[str, torch.Tensor]


@pytest.fixture
def state(tiny_checkpoint: Path) -> State:
    with safe_open(str(tiny_checkpoint), framework="pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A folder with the yaml and text folder of the tiny checkpoint; a test puts its own weights there."""
    shutil.copy(tiny_checkpoint.with_suffix(".yaml"), tmp_path / "tiny.yaml")
    shutil.copytree(tiny_checkpoint.with_name("tiny-text"), tmp_path / "tiny-text")
    return tmp_path


def load(state: State, folder: Path) -> ModelParts:
    save_file(state, folder / "tiny.safetensors")
    return load_parts(folder / "tiny.safetensors")


def assert_same(models: ModelParts, reference: ModelParts) -> None:
    own, others = ([each.unet, each.vae, *(r.encoder for r in each.texts)] for each in (models, reference))
    for one, other in zip(own, others, strict=True):
        assert one is not None
        assert other is not None
        given, expected = one.state_dict(), other.state_dict()
        assert given.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(given[name], tensor, rtol=0, atol=0)
    torch.testing.assert_close(models.alphas_cumprod, reference.alphas_cumprod)


def text_states(models: ModelParts) -> torch.Tensor:
    ids = models.tokenizer(["a church"], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        states: torch.Tensor = models.text_encoder(ids).last_hidden_state
    return states


@pytest.mark.parametrize("layout", ["tiny_checkpoint", "tiny_diffusers_folder"])
def test_every_layout_gives_the_same_models(
    layout: str, tiny_models: ModelParts, request: pytest.FixtureRequest
) -> None:
    models = load_parts(request.getfixturevalue(layout))
    assert_same(models, tiny_models)
    torch.testing.assert_close(text_states(models), text_states(tiny_models))
    assert (models.sample_size, models.vae_scale_factor) == (8, 8)
    assert models.vae is not None
    assert models.vae.config.scaling_factor == pytest.approx(0.18215)
    for part in PARTS:
        assert not getattr(models, part).training
        assert not any(p.requires_grad or p.is_meta for p in getattr(models, part).parameters())


@pytest.mark.parametrize("legacy", [False, True])
def test_a_ckpt_with_foreign_objects_loads(legacy: bool, state: State, folder: Path, tiny_models: ModelParts) -> None:
    content = {"state_dict": state, "callbacks": {Foreign: Foreign()}, "epoch": 3}
    torch.save(content, folder / "tiny.ckpt", _use_new_zipfile_serialization=not legacy)
    assert_same(load_parts(folder / "tiny.ckpt"), tiny_models)


class Foreign:
    """Stands for a trainer's callback, which the published SD 1.4 file carries."""

    def __init__(self) -> None:
        self.best = torch.ones(2)


@pytest.mark.parametrize("layout", ["tiny_checkpoint", "tiny_diffusers_folder"])
def test_loading_needs_neither_network_nor_patched_loaders(
    layout: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Web UIs replace these functions by ones that rename the user's file when anything fails."""
    path = request.getfixturevalue(layout)

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("must not be called")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr("safetensors.torch.load_file", forbidden)
    load_parts(path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parts_have_the_dtype_asked_for(dtype: torch.dtype, tiny_checkpoint: Path) -> None:
    models = load_parts(inspect_checkpoint(tiny_checkpoint), dtype=dtype)
    assert models.dtype == dtype
    assert {p.dtype for part in PARTS for p in getattr(models, part).parameters()} == {dtype}
    assert models.alphas_cumprod.dtype == torch.float32


def test_a_half_precision_file_loads_as_fp32(state: State, folder: Path) -> None:
    models = load({name: tensor.half() for name, tensor in state.items()}, folder)
    assert models.dtype == torch.float32


def test_old_text_encoder_names_and_position_ids_load(state: State, folder: Path, tiny_models: ModelParts) -> None:
    old = {name.replace(TEXT + "text_model.", TEXT): tensor for name, tensor in state.items()}
    old[TEXT + "embeddings.position_ids"] = torch.zeros(1, 77, dtype=torch.int64)
    models = load(old, folder)
    torch.testing.assert_close(text_states(models), text_states(tiny_models))


def test_old_diffusers_vae_names_load(tiny_diffusers_folder: Path, tmp_path: Path, tiny_models: ModelParts) -> None:
    shutil.copytree(tiny_diffusers_folder, tmp_path / "old")
    file = tmp_path / "old" / "vae" / "diffusion_pytorch_model.safetensors"
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    renamed = {}
    assert tiny_models.vae is not None
    for name, tensor in tiny_models.vae.state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = tensor
    assert any(".query." in name for name in renamed)
    save_file(renamed, file)
    assert_same(load_parts(tmp_path / "old"), tiny_models)


@pytest.mark.parametrize("name", [OUT, VAE + "decoder.conv_out.bias", TEXT + "text_model.final_layer_norm.bias"])
def test_values_that_are_no_numbers_are_named(name: str, state: State, folder: Path) -> None:
    state[name].view(-1)[0] = float("nan")
    with pytest.raises(BrokenCheckpoint, match=name.replace(".", r"\.")):
        load(state, folder)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (OUT, "U-Net"),
        (UNET + "input_blocks.1.0.in_layers.2.weight", "U-Net"),
        (UNET + "time_embed.0.bias", "U-Net"),
        (VAE + "encoder.mid.attn_1.q.weight", "VAE"),
        (VAE + "quant_conv.weight", "VAE"),
        (TEXT + "text_model.encoder.layers.1.mlp.fc1.bias", "text encoder"),
    ],
)
def test_a_missing_weight_is_named(name: str, part: str, state: State, folder: Path) -> None:
    del state[name]
    with pytest.raises(BrokenCheckpoint, match=f"lacks 1 weights of its {part}"):
        load(state, folder)


def test_weights_that_do_not_fit_the_configuration_are_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Without its yaml the tiny checkpoint is read as a full-size SD 1.x model."""
    shutil.copy(tiny_checkpoint, tmp_path / "alone.safetensors")
    with pytest.raises(BrokenCheckpoint, match=r"does not fit its configuration.*own \.yaml"):
        load_parts(tmp_path / "alone.safetensors")


@pytest.mark.parametrize("change", [{"channel_mult": "x"}, {"model_channels": None}, {"num_heads": -1}])
def test_a_configuration_that_cannot_be_used_is_named(change: dict[str, object], state: State, folder: Path) -> None:
    document = yaml.safe_load((folder / "tiny.yaml").read_text(encoding="utf-8"))
    document["model"]["params"]["unet_config"]["params"].update(change)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(BrokenCheckpoint, match=r"configuration"):
        load(state, folder)


def test_a_tokenizer_larger_than_the_text_encoder_is_refused(state: State, folder: Path) -> None:
    vocabulary = json.loads((folder / "tiny-text" / "vocab.json").read_text(encoding="utf-8"))
    vocabulary["<another>"] = len(vocabulary)
    (folder / "tiny-text" / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    with pytest.raises(BrokenCheckpoint, match="49409 tokens, but the text encoder knows only 49408"):
        load(state, folder)


def test_prompts_are_padded_and_cut_as_in_sd1(tiny_checkpoint: Path) -> None:
    tokenizer = load_parts(tiny_checkpoint).tokenizer
    ids = tokenizer(["a photo of a cat", "a " * 100], padding="max_length", truncation=True).input_ids
    assert ids[0] == [49406, 320, 1125, 539, 320, 2368] + [49407] * 71
    assert ids[1] == [49406] + [320] * 75 + [49407]
    # Not split at the apostrophe into "'" and "s", whatever other packages are there.
    assert tokenizer("Van Gogh's café").input_ids == [49406, 2451, 19697, 568, 15304, 49407]


def test_the_schedule_follows_the_configuration(state: State, folder: Path) -> None:
    document = yaml.safe_load((folder / "tiny.yaml").read_text(encoding="utf-8"))
    document["model"]["params"].update(linear_start=0.001, linear_end=0.01)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    betas = torch.linspace(0.001**0.5, 0.01**0.5, 1000) ** 2
    torch.testing.assert_close(load(state, folder).alphas_cumprod, torch.cumprod(1 - betas, 0))


def test_full_size_weights_fit_the_shipped_configuration() -> None:
    """Names and shapes of SD 1.x, without memory behind them, through the shipped yaml and CLIP config."""
    from erasure.families.sd1 import SD1
    from erasure.model.build_parts import build_text_encoder, fill, fill_vae, unet_from_ldm, vae_config_from_ldm

    document, config = yaml.safe_load(SD1.yaml.read_text(encoding="utf-8")), tiny.full_size_config
    with torch.device("meta"):
        unet, vae = tiny.build_unet(config["unet"]), tiny.build_vae(config["vae"])
        text_encoder = tiny.build_text_encoder(config["text"])
    original = {UNET + unet_key(name): tensor for name, tensor in unet.state_dict().items()}
    assert original[OUT].shape == (4, 320, 3, 3)
    assert unet_from_ldm(document, original, 64, "full", []).config.sample_size == 64
    original = {vae_key(name): tensor for name, tensor in vae.state_dict().items()}
    vae_config = vae_config_from_ldm(document, SD1.vae_scale, "full")
    assert fill_vae(vae_config, original, "full", []).config.block_out_channels == [128, 256, 512, 512]
    clip = json.loads(SD1.text_encoders[0].config.read_text(encoding="utf-8"))
    fill(build_text_encoder(clip, "full"), dict(text_encoder.state_dict()), "text encoder", "full", [])
