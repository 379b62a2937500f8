"""Baking: a checkpoint with the change of LoRAs in its weights, and nothing else changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emoji_sd import MODEL
from erasure.bake.baking import Baked, bake
from erasure.bake.label import BAKED_KEY
from erasure.bake.task import bake_task
from erasure.cli import main
from erasure.errors import BrokenCheckpoint, EraseError, LoraFileError, OutputExists, RunError
from erasure.file_hashes import sha256_of_files
from erasure.lora.combine import merge_loras, summed_change
from erasure.lora.file import read_lora
from erasure.lora.hashes import content_hash
from erasure.lora.model_adapter import inject_lora_file, remove_model_lora
from erasure.model.checkpoint import inspect_checkpoint, sha256
from erasure.model.model import Model, open_model
from erasure.safetensors_file import Entry, header_bytes, read_header
from tests import tiny
from tests.loras import random_lora

UNET = "model.diffusion_model."
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def write_scrambled(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a file whose names and data are in orders of their own, which are not those of safetensors."""
    names = sorted(tensors, key=lambda name: name[::-1])
    data, places = bytearray(), {}
    for name in reversed(names):
        raw = tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        places[name] = (len(data), len(data) + len(raw))
        data += raw
    numbers = {dtype: name for name, dtype in DTYPES.items()} | {torch.int64: "I64"}
    entries: dict[str, Entry] = {
        name: (numbers[tensors[name].dtype], tuple(tensors[name].shape), places[name]) for name in names
    }
    path.write_bytes(header_bytes(entries, metadata) + bytes(data))
    return path


def checkpoint_in(
    folder: Path,
    dtype: str = "F16",
    *,
    averaged: bool = False,
    change: Callable[[dict[str, Tensor]], object] = len,
) -> Path:
    """Write a tiny checkpoint in an order of its own, with metadata, an integer and, if asked for, averaged weights."""
    path = tiny.tiny_checkpoint(folder, dtype=DTYPES[dtype], name="base")
    tensors = load_file(path)
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    if averaged:
        for name in [name for name in tensors if name.startswith(UNET)]:
            twin = "model_ema." + name.removeprefix("model.").replace(".", "")
            tensors[twin] = tensors[name] * 0.5
        tensors["model_ema.decay"] = torch.tensor(0.9999)
    change(tensors)
    return write_scrambled(path, tensors, {"format": "pt", "said": "much", "modelspec.license": "CC0-1.0"})


@pytest.fixture
def erases_church(tmp_path: Path) -> Path:
    return random_lora(tmp_path / "church.safetensors", {"erase": ["church"]}, strength=0.1)


def everywhere(path: Path) -> Path:
    """Write a LoRA of every kind of layer: linear ones, 1x1 and 3x3 convolutions."""
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for name, module in tiny.build_tiny_models().unet.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            weight, key = module.weight, "lora_unet_" + name.replace(".", "_")
            tensors[f"{key}.lora_down.weight"] = 0.1 * torch.randn(3, *weight.shape[1:], generator=generator)
            tensors[f"{key}.lora_up.weight"] = 0.1 * torch.randn(
                weight.shape[0], 3, *(1 for _ in weight.shape[2:]), generator=generator
            )
            tensors[f"{key}.alpha"] = torch.tensor(1.5)
    save_file(tensors, path)
    return path


def baked(checkpoint: Path, loras: Sequence[tuple[Path, float]], out: Path, **options: Any) -> Baked:
    writing = bake(bake_task(checkpoint, loras, out, **options))
    shares = []
    while True:
        try:
            shares.append(next(writing))
        except StopIteration as end:
            assert shares == sorted(shares)
            assert shares[-1] == pytest.approx(1.0, abs=0.1)
            return end.value  # type: ignore[no-any-return]


def opened(path: Path) -> Model:
    return open_model(inspect_checkpoint(path))


def latents(model: Model) -> Tensor:
    noise = torch.stack([model.noise(torch.Generator().manual_seed(seed)) for seed in (1, 2)])
    given, null = model.embed(["a church", "a truck"]), model.embed([""])
    with torch.no_grad():
        return model.sample(given, noise, steps=4, guidance=3.0, null=null)


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def drawn_with(checkpoint: Path, loras: Sequence[tuple[Path, float]]) -> Tensor:
    model = opened(checkpoint)
    inject_lora_file(model.parts.modules, merge_loras([(read_lora(path), weight) for path, weight in loras]), 1.0)
    drawn = latents(model)
    remove_model_lora(model.parts.modules)
    return drawn


# --- it draws what the base with the LoRA draws


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("F16", 1e-2), ("BF16", 4e-2), ("F32", 1e-4)])
def test_a_baked_file_draws_what_the_base_with_the_loras_draws(
    tmp_path: Path, erases_church: Path, dtype: str, tolerance: float
) -> None:
    base = checkpoint_in(tmp_path / "base", dtype)
    loras = [(erases_church, 1.0), (everywhere(tmp_path / "all.safetensors"), -0.5)]
    found = baked(base, loras, tmp_path / "out.safetensors")
    wanted = drawn_with(base, loras)
    assert apart(latents(opened(base)), wanted) > 3 * tolerance
    assert apart(latents(opened(tmp_path / "out.safetensors")), wanted) < tolerance
    assert (found.dtypes, found.layers) == ((dtype,), 181)
    # Half of the last place, against changes of about a hundredth.
    usual = {"F16": 1e-3, "BF16": 1e-2, "F32": 1e-7}[dtype]
    assert usual / 10 < found.rounding < usual * 10


@pytest.mark.slow
def test_emoji_sd_with_a_lora_in_its_weights_draws_what_it_draws_with_the_lora(tmp_path: Path) -> None:
    lora = random_lora(tmp_path / "some.safetensors", strength=0.02, unet=opened(MODEL).unet)
    out = tmp_path / "baked.safetensors"
    baked(MODEL, [(lora, 1.0)], out)
    wanted = drawn_with(MODEL, [(lora, 1.0)])
    assert apart(latents(opened(MODEL)), wanted) > 0.05
    assert apart(latents(opened(out)), wanted) < 1e-2
    assert (tmp_path / "text_encoder" / "vocab.json").is_file()


def test_diffusers_opens_a_baked_file_and_predicts_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With as many layers as SD 1.x has, rounding is not made larger on its way through the U-Net.
    monkeypatch.setitem(tiny.tiny_config["unet"], "blocks", tiny.all_layers_config["unet"]["blocks"])
    lora = random_lora(tmp_path / "church.safetensors", {"erase": ["church"]}, strength=0.1)
    folder = tiny.tiny_diffusers_folder(tmp_path / "folder")
    base, out = checkpoint_in(tmp_path / "base", "F32"), tmp_path / "out.safetensors"
    baked(base, [(lora, 1.0)], out)
    unet = UNet2DConditionModel.from_single_file(str(out), config=str(folder), subfolder="unet", local_files_only=True)
    ours = opened(base).unet
    inject_lora_file({"": ours}, read_lora(lora), 1.0)
    generator = torch.Generator().manual_seed(0)
    latent, states = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 7, 32, generator=generator)
    with torch.no_grad():
        assert apart(unet(latent, 500, states).sample, ours(latent, 500, states).sample) < 1e-5


def test_a_diffusers_folder_is_baked_as_a_folder(
    tmp_path: Path, erases_church: Path, tiny_diffusers_folder: Path
) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(tiny_diffusers_folder, base)
    (base / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"as it was")
    (base / "all-in-one.safetensors").write_bytes(b"as it was")
    (base / ".cache").mkdir()
    (base / "README.md").write_text("about", encoding="utf-8")
    found = baked(base, [(erases_church, 1.0)], out)
    assert any("all-in-one.safetensors, unet/diffusion_pytorch_model.fp16.safetensors" in note for note in found.notes)
    assert apart(latents(opened(out)), drawn_with(base, [(erases_church, 1.0)])) < 1e-4
    inside = {path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()}
    left_out = {"all-in-one.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == inside - left_out
    weights = "unet/diffusion_pytorch_model.safetensors"
    for name in inside - left_out - {weights}:
        assert (out / name).read_bytes() == (base / name).read_bytes()
    said = read_header(out / weights).metadata
    assert (said["modelspec.implementation"], said["modelspec.title"]) == ("diffusers", "out")
    assert json.loads(said[BAKED_KEY])[0]["base_sha256"] == sha256(base)
    assert UNet2DConditionModel.from_pretrained(out / "unet", local_files_only=True) is not None


def test_a_pickle_is_baked_into_a_safetensors_file(tmp_path: Path, erases_church: Path) -> None:
    base = checkpoint_in(tmp_path / "base", "F16")
    pickle = base.with_suffix(".ckpt")
    torch.save({"state_dict": load_file(base), "epoch": 3}, pickle)
    base.unlink()
    out = tmp_path / "out.safetensors"
    found = baked(pickle, [(erases_church, 1.0)], out)
    assert any("is a pickle" in note for note in found.notes)
    assert apart(latents(opened(out)), drawn_with(pickle, [(erases_church, 1.0)])) < 1e-2
    assert load_file(out).keys() == torch.load(pickle, weights_only=True)["state_dict"].keys()
    assert json.loads(read_header(out).metadata[BAKED_KEY])[0]["base_sha256"] == sha256_of_files([pickle])


# --- nothing else changes


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_order_number_types_and_every_other_byte_stay(tmp_path: Path, erases_church: Path, dtype: str) -> None:
    base, out = checkpoint_in(tmp_path / "base", dtype), tmp_path / "out.safetensors"
    found = baked(base, [(erases_church, 1.0)], out)
    before, after = read_header(base), read_header(out)
    assert list(after.shapes) == list(before.shapes)
    assert (after.shapes, after.dtypes, after.places) == (before.shapes, before.dtypes, before.places)
    old, new = load_file(base), load_file(out)
    different = {name for name in old if not torch.equal(old[name], new[name])}
    assert different == {name for name in old if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    assert len(different) == found.layers == 20
    assert not any(name.startswith(("first_stage_model", "cond_stage_model")) for name in different)
    assert out.with_suffix(".yaml").read_bytes() == base.with_suffix(".yaml").read_bytes()
    assert (tmp_path / "base-text" / "vocab.json").is_file()  # which the yaml names


def test_the_change_is_the_sum_of_the_loras_rounded_once(tmp_path: Path, erases_church: Path) -> None:
    other = random_lora(tmp_path / "truck.safetensors", strength=0.3)
    base, out = checkpoint_in(tmp_path / "base", "F16"), tmp_path / "out.safetensors"
    baked(base, [(erases_church, 0.8), (other, -1.5)], out)
    files = [(read_lora(erases_church), 0.8), (read_lora(other), -1.5)]
    factors = summed_change(files, "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k")
    assert factors is not None
    up, down = factors
    assert (up.shape, down.shape) == ((64, 4), (4, 32))
    name = f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    assert torch.equal(load_file(out)[name], (load_file(base)[name].float() + up @ down).half())
    assert summed_change(files, "lora_unet_conv_in") is None


def test_averaged_weights_get_the_same_change(tmp_path: Path, erases_church: Path) -> None:
    base, out = checkpoint_in(tmp_path / "base", "F32", averaged=True), tmp_path / "out.safetensors"
    found = baked(base, [(erases_church, 1.0)], out)
    assert (found.layers, found.averaged) == (20, 20)
    old, new = load_file(base), load_file(out)
    plain = f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_v.weight"
    twin = "model_ema.diffusion_modelmiddle_block1transformer_blocks0attn2to_vweight"
    assert torch.allclose(new[plain] - old[plain], new[twin] - old[twin], atol=1e-6)
    assert not torch.equal(new[twin], old[twin])
    assert torch.equal(new["model_ema.decay"], old["model_ema.decay"])
    assert any("both are changed" in note for note in found.notes)


def test_a_convolution_that_is_stored_as_a_matrix_stays_one(tmp_path: Path) -> None:
    def flat(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.endswith(("proj_in.weight", "proj_out.weight"))]:
            if name.startswith(UNET):
                tensors[name] = tensors[name].flatten(1)

    lora = everywhere(tmp_path / "all.safetensors")
    base, out = checkpoint_in(tmp_path / "base", "F32", change=flat), tmp_path / "out.safetensors"
    baked(base, [(lora, 0.5)], out)
    name = f"{UNET}middle_block.1.proj_in.weight"
    assert load_file(out)[name].shape == (64, 64)
    assert not torch.equal(load_file(out)[name], load_file(base)[name])
    assert apart(latents(opened(out)), drawn_with(base, [(lora, 0.5)])) < 1e-4


def test_names_with_the_additions_of_a_trainer_keep_them(tmp_path: Path, erases_church: Path) -> None:
    def wrap(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(UNET)]:
            tensors[name.replace("diffusion_model.", "diffusion_model._orig_mod.")] = tensors.pop(name)

    base, out = checkpoint_in(tmp_path / "base", "F32", change=wrap), tmp_path / "out.safetensors"
    assert baked(base, [(erases_church, 1.0)], out).layers == 20
    assert list(read_header(out).shapes) == list(read_header(base).shapes)


# --- what it says of itself


def test_the_file_says_what_it_is_made_of(tmp_path: Path, erases_church: Path) -> None:
    other = random_lora(tmp_path / "x, y.safetensors", strength=0.1)
    base, out = checkpoint_in(tmp_path / "base"), tmp_path / "out.safetensors"
    baked(base, [(erases_church, 1.0), (other, -0.5)], out)
    with safe_open(out, "pt") as file:
        said = file.metadata()
    assert (said["format"], said["said"], said["modelspec.license"]) == ("pt", "much", "CC0-1.0")
    assert said["modelspec.sai_model_spec"] == "1.0.1"
    assert (said["modelspec.title"], said["modelspec.merged_from"]) == ("out", "base, church, x; y")
    assert (said["modelspec.architecture"], said["modelspec.resolution"]) == ("stable-diffusion-v1", "64x64")
    assert said["modelspec.hash_sha256"] == f"0x{content_hash(out)}"
    assert "church (weight 1), x, y (weight -0.5). Erased: church." in said["modelspec.description"]
    told = json.loads(said[BAKED_KEY])
    assert told[0]["base_sha256"] == sha256_of_files([base])
    assert told[0]["loras"] == [
        {"name": "church", "sha256": sha256_of_files([erases_church]), "weight": 1.0, "erases": ["church"]},
        {"name": "x, y", "sha256": sha256_of_files([other]), "weight": -0.5, "erases": []},
    ]
    assert str(tmp_path) not in json.dumps(said)
    again = baked(out, [(erases_church, 1.0)], tmp_path / "again.safetensors")
    assert any("church was baked into it before" in note for note in again.notes)
    history = json.loads(read_header(tmp_path / "again.safetensors").metadata[BAKED_KEY])
    assert [each["base"] for each in history] == ["base", "out"]


def test_a_lora_that_was_made_from_another_base_is_baked_and_told(tmp_path: Path) -> None:
    base = checkpoint_in(tmp_path / "base")
    other = {"ss_sd_model_hash": "0123abcd", "ss_sd_model_name": "other.ckpt"}
    lora = random_lora(tmp_path / "odd.safetensors", metadata=other)
    notes = baked(base, [(lora, 1.0)], tmp_path / "out.safetensors").notes
    assert any("odd.safetensors was made from other.ckpt, which is another file than base" in note for note in notes)


# --- the command


def command(checkpoint: Path, out: Path, *loras: str | Path, flags: Sequence[str] = ()) -> list[str]:
    given = [word for lora in loras for word in ("--lora", str(lora))]
    return ["bake", "--checkpoint", str(checkpoint), *given, "--out", str(out), *flags]


def test_the_command_says_where_the_file_is_and_what_rounding_took(
    tmp_path: Path, erases_church: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, out = checkpoint_in(tmp_path / "base"), tmp_path / "out.safetensors"
    assert main(command(base, out, f"{erases_church}:0.8")) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == str(out)
    assert lines[1].startswith("20 layers changed")
    assert lines[2].startswith("Rounded once to F16, which adds an error of 0.0")
    assert "written" in shown.err
    assert json.loads(read_header(out).metadata[BAKED_KEY])[0]["loras"][0]["weight"] == 0.8


def test_what_is_there_is_overwritten_only_if_asked(
    tmp_path: Path, erases_church: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, out = checkpoint_in(tmp_path / "base"), tmp_path / "out.safetensors"
    out.write_bytes(b"mine")
    assert main(command(base, out, erases_church)) == 2
    assert "exists; choose another name" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert main(command(base, out, erases_church, flags=["--overwrite"])) == 0
    other = tmp_path / "other.safetensors"
    other.with_suffix(".yaml").write_text("mine", encoding="utf-8")
    assert main(command(base, other, erases_church)) == 2
    assert "other.yaml exists" in capsys.readouterr().err
    assert not other.exists()
    assert main(command(base, other, erases_church, flags=["--overwrite"])) == 0


def test_base_and_loras_are_never_written_over(
    tmp_path: Path, erases_church: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = checkpoint_in(tmp_path / "base")
    link = tmp_path / "link.safetensors"
    link.symlink_to(base)
    before = base.read_bytes(), erases_church.read_bytes()
    for out in (base, link, erases_church, base.parent / "." / base.name):
        assert main(command(base, out, erases_church, flags=["--overwrite"])) == 2
        assert "which stays as it is" in capsys.readouterr().err
    assert (base.read_bytes(), erases_church.read_bytes()) == before


def sdxl_lora(path: Path) -> Path:
    down = torch.ones(2, 2048)
    name = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": torch.ones(640, 2)}, path)
    return path


def wrong_text(path: Path) -> Path:
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    save_file({f"{name}.lora_down.weight": torch.ones(2, 8), f"{name}.lora_up.weight": torch.ones(8, 2)}, path)
    return path


def strange_lora(path: Path, layer: str = "lora_unet_no_such_layer", columns: int = 32) -> Path:
    save_file({f"{layer}.lora_down.weight": torch.ones(2, columns), f"{layer}.lora_up.weight": torch.ones(64, 2)}, path)
    return path


def wrong_shape(path: Path) -> Path:
    return strange_lora(path, "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", 31)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (sdxl_lora, "a LoRA for Stable Diffusion XL, but the checkpoint is an SD 1.x model"),
        (wrong_text, "encoder_layers_0_mlp_fc1: lora_down.weight has the wrong shape (2, 8), the layer needs (2, 32)"),
        (strange_lora, "the model has no such layer"),
        (wrong_shape, "has the wrong shape"),
        (lambda path: random_lora(path, strength=0.0), "changes nothing"),
        (lambda path: path, "there is no file"),
    ],
)
def test_what_is_no_lora_for_the_checkpoint_is_refused_before_anything_is_written(
    tmp_path: Path, make: Callable[[Path], Path], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base, lora = checkpoint_in(tmp_path / "base"), make(tmp_path / "lora.safetensors")
    there = set(tmp_path.rglob("*"))
    assert main(command(base, tmp_path / "out.safetensors", lora)) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert set(tmp_path.rglob("*")) == there


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([":x"], "'x' in"),
        ([":nan"], "is not a number from -10 to 10"),
        ([":11"], "is not a number from -10 to 10"),
        ([":0"], "changes nothing; leave it out"),
        (["", ":0.5"], "is given more than once"),
    ],
)
def test_wrong_arguments_end_with_two(
    tmp_path: Path, erases_church: Path, weights: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = checkpoint_in(tmp_path / "base")
    assert main(command(base, tmp_path / "out.safetensors", *(f"{erases_church}{w}" for w in weights))) == 2
    assert message in capsys.readouterr().err


def test_a_folder_and_a_file_are_not_mixed_up(
    tmp_path: Path, erases_church: Path, tiny_diffusers_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = checkpoint_in(tmp_path / "base")
    assert main(command(base, tmp_path / "out", erases_church)) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    assert main(command(tiny_diffusers_folder, tmp_path / "out.safetensors", erases_church)) == 2
    assert "name a folder" in capsys.readouterr().err
    (tmp_path / "there").mkdir()
    assert main(command(tiny_diffusers_folder, tmp_path / "there", erases_church, flags=["--overwrite"])) == 2
    assert "a folder is not overwritten" in capsys.readouterr().err
    assert main(command(tiny_diffusers_folder, tiny_diffusers_folder / "in", erases_church)) == 2
    assert "inside of the checkpoint's own folder" in capsys.readouterr().err


def test_weights_of_eight_bits_are_refused_by_name(
    tmp_path: Path, erases_church: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny.tiny_checkpoint(tmp_path / "base", dtype=torch.float8_e4m3fn)
    assert main(command(base, tmp_path / "out.safetensors", erases_church)) == 1
    assert "weights of 8 bits" in capsys.readouterr().err


# --- whole or not at all


def test_an_interrupted_bake_leaves_nothing(tmp_path: Path, erases_church: Path) -> None:
    base = checkpoint_in(tmp_path / "base")
    there = set(tmp_path.rglob("*"))
    writing = bake(bake_task(base, [(erases_church, 1.0)], tmp_path / "out.safetensors"))
    next(writing)
    assert set(tmp_path.rglob("*")) != there
    writing.close()
    assert set(tmp_path.rglob("*")) == there


def test_an_interrupted_folder_leaves_nothing(tmp_path: Path, erases_church: Path, tiny_diffusers_folder: Path) -> None:
    there = set(tmp_path.rglob("*"))
    writing = bake(bake_task(tiny_diffusers_folder, [(erases_church, 1.0)], tmp_path / "out"))
    next(writing)
    writing.close()
    assert set(tmp_path.rglob("*")) == there


def test_a_full_disk_is_told_before_and_leaves_nothing_in_the_midst(
    tmp_path: Path, erases_church: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, out = checkpoint_in(tmp_path / "base"), tmp_path / "out.safetensors"
    there = set(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
        with pytest.raises(RunError, match=r"out\.safetensors needs \d+ MB on the disk, of which 1 MB are free"):
            bake_task(base, [(erases_church, 1.0)], out)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("erasure.bake.rewrite._write", full)
    with pytest.raises(RunError, match="could not be written: No space left on device; nothing was left behind"):
        baked(base, [(erases_church, 1.0)], out)
    assert set(tmp_path.rglob("*")) == there


def test_a_name_that_is_taken_meanwhile_stays_what_it_is(tmp_path: Path, erases_church: Path) -> None:
    base, out = checkpoint_in(tmp_path / "base"), tmp_path / "out.safetensors"
    task = bake_task(base, [(erases_church, 1.0)], out)
    out.write_bytes(b"mine")
    with pytest.raises(OutputExists, match="took the name"):
        list(bake(task))
    assert out.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("dtype", "value", "strength", "error", "message"),
    [
        ("F16", float("nan"), 0.1, BrokenCheckpoint, "not finite"),
        ("F16", 0.0, 1e6, LoraFileError, "F16 cannot hold; choose a smaller weight"),
    ],
)
def test_values_that_no_file_should_hold_are_refused(
    tmp_path: Path, dtype: str, value: float, strength: float, error: type[EraseError], message: str
) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[f"{UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight"][0, 0] = value

    base, out = checkpoint_in(tmp_path / "base", dtype, change=spoil), tmp_path / "out.safetensors"
    lora = random_lora(tmp_path / "lora.safetensors", strength=strength)
    with pytest.raises(error, match=message):
        baked(base, [(lora, 1.0)], out)
    assert not out.exists()
