"""LoRA files of SDXL: kohya's names for it, which every reader takes, and what the files say of themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import transformers
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from packaging.version import Version
from safetensors.torch import load_file, save_file

from emoji_sd.original_layout import unet_key
from erasure.bake.baking import bake
from erasure.bake.task import bake_task
from erasure.cli import main
from erasure.combine.combining import combine
from erasure.combine.task import combine_task
from erasure.config.settings import LayerChoice
from erasure.errors import LoraFileError
from erasure.families.sd1 import SD1
from erasure.families.sdxl import SDXL
from erasure.lora.adapter import inject_lora, lora_layers, lora_state, remove_lora
from erasure.lora.explain import explain_lora
from erasure.lora.file import module_key, read_lora, write_lora
from erasure.lora.fit import match_lora, module_paths
from erasure.lora.layer_choice import base_layers, layer_shapes, smallest_choice
from erasure.lora.model_adapter import inject_lora_file, model_shapes
from erasure.model.loading import load_parts
from erasure.model.model import Model
from erasure.share.about import read_about
from erasure.share.civitai import civitai_values
from erasure.share.model_card import model_card
from erasure.share.order import share_order
from erasure.share.pictures import SharedPictures
from tests import tiny, tiny_xl
from tests.loras import random_lora
from tests.test_lora import randomise

Tensor = torch.Tensor
CHOICES: tuple[LayerChoice, ...] = ("xattn_kv", "full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_xl.tiny_xl_folder(tmp_path_factory.mktemp("xl") / "tiny-xl")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_xl.tiny_xl_checkpoint(tmp_path_factory.mktemp("xl"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model(load_parts(folder))


def predicted(model: Model) -> Tensor:
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eps(z, torch.tensor([100, 700]), model.embed(["a church", "radio"]))


def lora(path: Path, unet: UNet2DConditionModel, layers: LayerChoice = "full", seed: int = 1) -> Path:
    """A random LoRA of rank 2."""
    inject_lora(unet, layers, 2, 2.0, seed=0)
    randomise(unet, seed)
    write_lora(path, lora_state(unet), family=SDXL, alpha=2.0, metadata={}, dtype=torch.float32)
    remove_lora(unet)
    return path


def diffusers_names(file: Path, unet: torch.nn.Module, out: Path) -> Path:
    """The same file by the names that trainers on diffusers' U-Net give."""
    named = {
        key: SDXL.lora.prefix + path.replace(".", "_") for key, path in module_paths(base_layers(unet), SDXL).items()
    }
    state = {".".join((named[k.partition(".")[0]], k.partition(".")[2])): v for k, v in load_file(file).items()}
    save_file(state, out)
    return out


# --- names


def test_every_layer_has_the_name_of_the_original_layout() -> None:
    with torch.device("meta"):
        unet = tiny_xl.build_unet(tiny_xl.FULL_UNET)
    paths = module_paths(base_layers(unet), SDXL)
    assert len(paths) == 794
    for key, path in paths.items():
        original = unet_key(f"{path}.weight", lowest_attention=True)
        assert key == "lora_unet_" + original.removesuffix(".weight").replace(".", "_")
        assert module_key(path, SDXL) == key
    kv = module_key("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", SDXL)
    assert kv == "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    assert module_key("up_blocks.0.upsamplers.0.conv", SDXL) == "lora_unet_output_blocks_2_2_conv"


def test_the_layers_of_a_file_tell_which_choice_trained_them() -> None:
    unet = tiny_xl.build_unet(tiny_xl.UNET)
    for choice in ("xattn_kv", "noxattn", "full"):
        inject_lora(unet, choice, 1, 1.0, seed=0)
        keys = [module_key(path, SDXL).removeprefix("lora_unet_") for path in lora_layers(unet)]
        remove_lora(unet)
        assert smallest_choice(keys) == choice


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("4.34"),
    reason="this transformers is too old for diffusers' load_lora_weights",
)
@pytest.mark.parametrize("layers", CHOICES)
def test_diffusers_loads_the_same_model(layers: LayerChoice, model: Model, folder: Path, tmp_path: Path) -> None:
    base = predicted(model)
    path = lora(tmp_path / "gone.safetensors", model.unet, layers)
    inject_lora_file(model.parts.modules, read_lora(path), 1.0)
    ours = predicted(model)
    remove_lora(model.unet)
    change = float((ours - base).abs().max())
    assert change > 0.01
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True, add_watermarker=False)
    pipeline.load_lora_weights(tmp_path, weight_name="gone.safetensors")
    theirs = Model(dataclasses.replace(model.parts, unet=pipeline.unet))
    torch.testing.assert_close(predicted(theirs), ours, rtol=0, atol=1e-4 * change)


def test_files_with_the_names_of_diffusers_are_read_as_well(model: Model, tmp_path: Path) -> None:
    own = lora(tmp_path / "own.safetensors", model.unet)
    foreign = diffusers_names(own, model.unet, tmp_path / "foreign.safetensors")
    files = [read_lora(own), read_lora(foreign, (SDXL,))]
    assert files[0].state.keys() == files[1].state.keys()
    assert all(torch.equal(files[0].state[key], files[1].state[key]) for key in files[0].state)
    match_lora(files[1], layer_shapes(model.unet), SDXL)


def test_a_file_with_both_names_of_one_layer_is_refused(model: Model, tmp_path: Path) -> None:
    own = lora(tmp_path / "own.safetensors", model.unet, "xattn_kv")
    foreign = diffusers_names(own, model.unet, tmp_path / "foreign.safetensors")
    save_file({**load_file(own), **load_file(foreign)}, tmp_path / "both.safetensors")
    with pytest.raises(LoraFileError, match=r"attn2_to_k\.\w+.* are for one layer"):
        read_lora(tmp_path / "both.safetensors")


def test_a_file_without_words_is_told_by_its_text_width_or_its_names(tmp_path: Path) -> None:
    wide = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    for name, width in ((wide, 2048), ("lora_unet_input_blocks_4_1_proj_in", 640)):
        parts = {f"{name}.lora_down.weight": torch.ones(2, width), f"{name}.lora_up.weight": torch.ones(3, 2)}
        save_file(parts, tmp_path / "lora.safetensors")
        assert read_lora(tmp_path / "lora.safetensors").family == SDXL


# --- from checkpoint to file


@pytest.mark.usefixtures("quick_pictures")
@pytest.mark.slow
def test_a_run_makes_a_lora_that_says_it_is_for_sdxl(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.txt").write_text("truck\nbus\nhouse\ntower\n", encoding="utf-8")
    out = tmp_path / "gone.safetensors"
    flags = ["--steps", "3", "--learning-rate", "0.02", "--clip", "0", "--sampling-steps", "2", "--look-every", "0"]
    flags += ["--vocabulary", "file", "--vocabulary-file", str(tmp_path / "words.txt"), "--synonym-threshold", "0"]
    flags += ["--judged-words", "0", "--device", "cpu", "--run", str(tmp_path / "run"), "--out", str(out)]
    assert main(["train", "--checkpoint", str(checkpoint), "--erase", "church", *flags]) == 0, capsys.readouterr().err
    file = read_lora(out)
    wanted = {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_v2": "False",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "64x64",
    }
    assert {key: file.metadata[key] for key in wanted} == wanted
    unet = ("lora_unet_input_", "lora_unet_middle_", "lora_unet_output_")
    assert all(key.startswith((*unet, "lora_te1_text_model_", "lora_te2_text_model_")) for key in file.state)
    assert any(key.startswith("lora_te2_") for key in file.state)
    assert "a LoRA for Stable Diffusion XL in kohya's layout" in str(explain_lora(out))
    match_lora(file, model_shapes(load_parts(checkpoint).modules), SDXL)


def test_a_baked_checkpoint_predicts_as_the_base_with_the_lora(checkpoint: Path, tmp_path: Path) -> None:
    model = Model(load_parts(checkpoint))
    base = predicted(model)
    own = lora(tmp_path / "own.safetensors", model.unet)
    (tmp_path / "place").mkdir()
    task = bake_task(checkpoint, [(own, 0.5)], tmp_path / "place" / "baked.safetensors")
    for _ in bake(task):
        pass
    inject_lora_file(model.parts.modules, read_lora(own), 0.5)
    with_lora, baked = predicted(model), predicted(Model(load_parts(task.out)))
    assert (with_lora - base).abs().max() > 1e-3
    torch.testing.assert_close(baked, with_lora, rtol=1e-4, atol=1e-5)
    assert {path.name for path in task.out.parent.iterdir()} >= {"baked.yaml", "tiny-xl-text", "tiny-xl-text-2"}


def test_files_with_either_names_are_combined(model: Model, tmp_path: Path) -> None:
    one = lora(tmp_path / "one.safetensors", model.unet, "xattn_kv", 1)
    plain = lora(tmp_path / "plain.safetensors", model.unet, "xattn_kv", 2)
    other = diffusers_names(plain, model.unet, tmp_path / "other.safetensors")
    save_file(load_file(other), other, {"ss_base_model_version": "sdxl_base_v1-0"})
    task = combine_task([(one, 1.0), (other, 1.0)], tmp_path / "sum.safetensors")
    for _ in combine(task):
        pass
    file = read_lora(tmp_path / "sum.safetensors")
    assert (file.family, file.modules) == (SDXL, read_lora(one).modules)
    inject_lora_file(model.parts.modules, file, 1.0)
    together = predicted(model)
    remove_lora(model.unet)
    for layer, path in module_paths(base_layers(model.unet), SDXL).items():
        if layer in file.modules:
            weight = base_layers(model.unet)[path].weight
            for down, up, scale in (read_lora(each).weights(layer) for each in (one, plain)):
                weight += scale * up @ down
    torch.testing.assert_close(predicted(model), together, rtol=1e-3, atol=1e-4)


def test_what_is_for_another_family_is_refused_by_name(checkpoint: Path, model: Model, tmp_path: Path) -> None:
    told = {"ss_base_model_version": "sd_v1"}
    first = random_lora(tmp_path / "first.safetensors", None, told)
    own = lora(tmp_path / "own.safetensors", model.unet, "xattn_kv")
    with pytest.raises(LoraFileError, match=r"a LoRA for Stable Diffusion 1\.x, but the checkpoint is an SDXL model"):
        bake_task(checkpoint, [(first, 1.0)], tmp_path / "baked.safetensors")
    with pytest.raises(LoraFileError, match=r"for Stable Diffusion 1\.x, own.safetensors for Stable Diffusion XL"):
        combine_task([(first, 1.0), (own, 1.0)], tmp_path / "sum.safetensors")
    unet = tiny.build_tiny_models().unet
    with pytest.raises(LoraFileError, match=r"a LoRA for Stable Diffusion XL, but the checkpoint is an SD 1\.x model"):
        match_lora(read_lora(own), layer_shapes(unet), SD1)


def test_what_is_shared_names_the_base_and_how_to_load_it(tmp_path: Path) -> None:
    known = "31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b"  # sd_xl_base_1.0.safetensors
    for sha256, hub in ((known, "stabilityai/stable-diffusion-xl-base-1.0"), ("ab" * 32, None)):
        told = {"ss_base_model_version": "sdxl_base_v1-0", "ss_new_sd_model_hash": sha256}
        about = read_about(random_lora(tmp_path / "gone.safetensors", {"erase": ["church"]}, told))
        assert about.family is SDXL
        assert (about.base and about.base.hub) == hub
        order = share_order(about.report.path, "openrail++")
        assert civitai_values(about, order, sha256=sha256, size=1)["baseModel"] == "SDXL 1.0"
        card = model_card(about, order, SharedPictures(None, ()), sha256)
        assert "from diffusers import StableDiffusionXLPipeline" in card
        assert "gen_img.py --sdxl --ckpt" in card
        assert ("base_model: stabilityai/stable-diffusion-xl-base-1.0" in card) == (hub is not None)
        about.report.path.unlink()
