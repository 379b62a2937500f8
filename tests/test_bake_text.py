"""Baking of LoRAs that change text encoders, into every layout that a checkpoint has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel

from erasure.bake.task import bake_task
from erasure.cli import main
from erasure.errors import UnsupportedCheckpoint
from erasure.families.sd1 import SD1
from erasure.lora.combine import merge_loras
from erasure.lora.file import module_key, read_lora
from erasure.lora.model_adapter import inject_lora_file, model_shapes
from erasure.model.checkpoint import OriginalFile, inspect_checkpoint
from erasure.model.empty_unet import layers_of
from erasure.model.model import Model
from erasure.model.open_clip import clip_names
from erasure.model.text_layers import text_layers
from erasure.safetensors_file import read_header
from tests import tiny, tiny_sd2, tiny_xl
from tests.test_bake import apart, baked, latents, opened
from tests.text_loras import of_text, text_lora

OPEN_CLIP = "cond_stage_model.model."


def pickled(folder: Path) -> Path:
    """SD 2 as it was published at first, in a pickle."""
    base = tiny_sd2.checkpoint(folder)
    torch.save({"state_dict": load_file(base)}, base.with_suffix(".ckpt"))
    base.unlink()
    return base.with_suffix(".ckpt")


def older(folder: Path) -> Path:
    """SD 1.x whose text encoder has the names of the oldest files."""
    base = tiny.tiny_checkpoint(folder)
    tensors = {name.replace("transformer.text_model.", "transformer."): t for name, t in load_file(base).items()}
    save_file(tensors, base)
    return base


def newer(folder: Path) -> Path:
    """A folder whose text encoder has the names of the newest files, without ``text_model.``."""
    base = tiny.tiny_diffusers_folder(folder)
    place = base / "text_encoder" / "model.safetensors"
    tensors = {name.removeprefix("text_model."): tensor for name, tensor in load_file(place).items()}
    save_file(tensors, place, {"format": "pt"})
    return base


def with_text_model(folder: Path) -> Path:
    """A folder whose text encoder has the names of most files, with ``text_model.``."""
    base = newer(folder)
    place = base / "text_encoder" / "model.safetensors"
    save_file({f"text_model.{name}": tensor for name, tensor in load_file(place).items()}, place, {"format": "pt"})
    return base


Make = Callable[[Path], Path]
# How a checkpoint is made, and how many layers its text encoders have that a LoRA can change: 6 in each layer.
KINDS: dict[str, tuple[Make, int]] = {
    "SD 1.x": (tiny.tiny_checkpoint, 12),
    "SD 1.x, folder": (newer, 12),
    "SD 2.x": (tiny_sd2.checkpoint, 12),
    "SD 2.x, pickle": (pickled, 12),
    "SDXL": (tiny_xl.tiny_xl_checkpoint, 36),
    "SDXL, folder": (tiny_xl.tiny_xl_folder, 36),
}


def told(model: Model) -> list[Tensor]:
    """What the U-Net is told of some prompts."""
    return list(model.embed(["a church", "a truck on a road"]).tensors)


def of_a_key_layer(path: str) -> bool:
    return of_text(path) or path.endswith("attn2.to_v")


@pytest.mark.parametrize("kind", KINDS)
def test_a_baked_checkpoint_reads_prompts_and_draws_as_the_base_with_the_loras_does(tmp_path: Path, kind: str) -> None:
    make, text_count = KINDS[kind]
    base = make(tmp_path / "base")
    out = tmp_path / ("out" if base.is_dir() else "out.safetensors")
    model = opened(base)
    family, modules = model.parts.info.family, model.parts.modules
    in_model = {module_key(path, family): shape for path, shape in model_shapes(modules).items()}
    layers = layers_of(model.parts.info)
    assert {module_key(path, family): shape for path, shape in layers.shapes.items()} == in_model
    loras = [
        (text_lora(tmp_path / "both.safetensors", modules, family, of_a_key_layer), 0.7),
        (text_lora(tmp_path / "values.safetensors", modules, family, lambda path: "v_proj" in path, seed=1), -1.2),
    ]
    found = baked(base, loras, out)
    assert found.text_layers == text_count
    assert f"{found.layers} layers changed, {text_count} of them in text encoders;" in found.lines[0]
    before = told(model)
    inject_lora_file(modules, merge_loras([(read_lora(path), weight) for path, weight in loras]), 1.0)
    tuned = Model(model.parts)
    made = opened(out)
    for one, wanted, old in zip(told(made), told(tuned), before, strict=False):
        assert apart(old, wanted) > 0.01
        assert apart(one, wanted) < 1e-5
    assert apart(latents(made), latents(tuned)) < 1e-4


@pytest.mark.parametrize("make", [older, with_text_model])
def test_names_of_older_and_newer_files_are_of_the_same_layers(
    tmp_path: Path, make: Make, tiny_checkpoint: Path
) -> None:
    wanted, found = (text_layers(inspect_checkpoint(path)) for path in (tiny_checkpoint, make(tmp_path / "base")))
    assert len(wanted.shapes) == 12
    assert found.shapes == wanted.shapes
    assert {place.layer for place in found.places} == found.shapes.keys()
    assert not any("text_model" in path for path in found.shapes)  # whichever transformers is installed


def test_rows_of_a_fused_matrix_are_those_that_diffusers_takes(tmp_path: Path) -> None:
    info = inspect_checkpoint(tiny_sd2.checkpoint(tmp_path))
    assert isinstance(info.contents, OriginalFile)
    stored = load_file(info.path)
    text = {name.removeprefix(OPEN_CLIP): t for name, t in stored.items() if name.startswith(OPEN_CLIP)}
    translated = {name.removeprefix("text_model."): tensor for name, tensor in clip_names(text).items()}
    for place in text_layers(info).places:
        tensor = stored[place.name]
        rows = tensor if place.rows is None else tensor[slice(*place.rows)]
        assert torch.equal(rows, translated[place.layer.removeprefix("text_encoder.") + ".weight"])


# --- nothing else changes


def test_of_a_fused_matrix_only_the_rows_of_the_changed_layer_differ(tmp_path: Path) -> None:
    weights = tiny_sd2.state()
    name = f"{OPEN_CLIP}transformer.resblocks.1.attn.in_proj_weight"
    weights[name][0] = -0.0  # to which adding nothing would be a change
    base = tiny_sd2.checkpoint(tmp_path / "base", weights=weights)
    model = opened(base)
    lora = text_lora(
        tmp_path / "keys.safetensors",
        model.parts.modules,
        model.parts.info.family,
        lambda path: "1.self_attn.k" in path,
    )
    out = tmp_path / "out.safetensors"
    found = baked(base, [(lora, 1.0)], out)
    assert (found.layers, found.text_layers) == (1, 1)
    old, new = load_file(base), load_file(out)
    assert read_header(out).places == read_header(base).places
    d = tiny_sd2.WIDTH
    for other in old.keys() - {name}:
        assert torch.equal(new[other].view(-1).view(torch.uint8), old[other].view(-1).view(torch.uint8))
    after, before = new[name].view(torch.uint8), old[name].view(torch.uint8)
    assert torch.equal(after[:d], before[:d])
    assert torch.equal(after[2 * d :], before[2 * d :])
    assert not torch.equal(after[d : 2 * d], before[d : 2 * d])


def test_the_layer_that_a_model_does_not_run_is_none_of_its_layers(tmp_path: Path) -> None:
    base = tiny_sd2.checkpoint(tmp_path / "base")  # three layers, of which the last is not run
    layer = "lora_te_text_model_encoder_layers_2_mlp_fc1"
    tensors = {f"{layer}.lora_down.weight": torch.ones(1, 32), f"{layer}.lora_up.weight": torch.ones(64, 1)}
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(Exception, match=f"{layer}: the model has no such layer"):
        bake_task(base, [(tmp_path / "lora.safetensors", 1.0)], tmp_path / "out.safetensors")


def test_averaged_weights_are_the_u_nets_alone(tmp_path: Path) -> None:
    base = tiny.tiny_checkpoint(tmp_path / "base")
    tensors = load_file(base)
    for name in [name for name in tensors if name.startswith("model.")]:
        tensors["model_ema." + name.removeprefix("model.").replace(".", "")] = tensors[name].clone()
    save_file(tensors, base)
    model = opened(base)
    lora = text_lora(tmp_path / "both.safetensors", model.parts.modules, SD1, of_a_key_layer)
    found = baked(base, [(lora, 1.0)], tmp_path / "out.safetensors")
    assert (found.layers, found.averaged, found.text_layers) == (22, 10, 12)
    assert found.lines[0].startswith(
        "22 layers changed (10 of them in averaged weights as well), 12 of them in text encoders;"
    )


# --- folders


def folder_with_more(folder: Path) -> Path:
    """A folder with copies of its text encoder in other forms."""
    base = tiny.tiny_diffusers_folder(folder)
    for name in ("model.fp16.safetensors", "pytorch_model.bin"):
        (base / "text_encoder" / name).write_bytes(b"as it was")
    return base


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``base``; ``first``, with another U-Net; and ``second``, made from that, with another text encoder."""
    place = tmp_path_factory.mktemp("folders")
    base = folder_with_more(place / "base")
    modules = opened(base).parts.modules
    unet = text_lora(place / "unet.safetensors", modules, SD1, lambda path: path.endswith("attn2.to_v"))
    text = text_lora(place / "text.safetensors", modules, SD1)
    baked(base, [(unet, 1.0)], place / "first")
    found = baked(place / "first", [(text, 0.5)], place / "second")
    assert any("text_encoder/model.fp16.safetensors, text_encoder/pytorch_model.bin" in note for note in found.notes)
    return place


def test_a_folder_gets_new_files_of_those_parts_that_change(folders: Path) -> None:
    base, first, second = (folders / name for name in ("base", "first", "second"))
    for name in ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"):
        assert (first / "text_encoder" / name).read_bytes() == (base / "text_encoder" / name).read_bytes()
    assert {path.name for path in (second / "text_encoder").iterdir()} == {"config.json", "model.safetensors"}
    unet_file = "unet/diffusion_pytorch_model.safetensors"
    old, new = load_file(first / unet_file), load_file(second / unet_file)
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert CLIPTextModel.from_pretrained(second / "text_encoder", local_files_only=True) is not None


def test_inspect_knows_the_files_of_text_encoders(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(folders / "second"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [[lora["name"] for lora in each["loras"]] for each in said["baked"]] == [["unet"], ["text"]]
    assert (said["whole"], said["problems"]) == (True, [])
    assert said["hashes"].keys() == {"unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}
    # A text encoder from another bake is told, and so is one that was changed.
    shutil.copytree(folders / "second", tmp_path / "mixed")
    shutil.copytree(folders / "first" / "unet", tmp_path / "mixed" / "unet", dirs_exist_ok=True)
    file = tmp_path / "mixed" / "text_encoder" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    assert main(["inspect", str(tmp_path / "mixed"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["whole"] is False
    assert said["problems"] == [
        "text_encoder/model.safetensors says that more is baked into it than the files of the U-Net do"
    ]


def test_a_folders_pickles_get_the_names_of_safetensors_files(tmp_path: Path) -> None:
    base = tiny.tiny_diffusers_folder(tmp_path / "base")
    place = base / "text_encoder" / "model.safetensors"
    torch.save(load_file(place), place.with_name("pytorch_model.fp16.bin"))
    place.unlink()
    model = opened(base)
    lora = text_lora(tmp_path / "text.safetensors", model.parts.modules, SD1)
    baked(base, [(lora, 1.0)], tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "text_encoder").iterdir()}
    assert names == {"config.json", "model.fp16.safetensors"}
    inject_lora_file(model.parts.modules, read_lora(lora), 1.0)
    assert apart(told(opened(tmp_path / "out"))[0], told(Model(model.parts))[0]) < 1e-5


def split(place: Path, *names: str) -> None:
    """Write the weights of a part as two files, one of which has none that a LoRA changes, with the list of both."""
    tensors = load_file(place)
    matrices = {name: tensor for name, tensor in tensors.items() if name.endswith("weight") and tensor.ndim == 2}
    others = {name: tensor for name, tensor in tensors.items() if name not in matrices}
    place.unlink()
    for name, part in zip(names, (matrices, others), strict=True):
        write = torch.save if name.endswith(".bin") else save_file
        write(part, place.with_name(name))
    places = {**dict.fromkeys(matrices, names[0]), **dict.fromkeys(others, names[1])}
    stem = "pytorch_model.bin" if names[0].endswith(".bin") else "model.safetensors"
    place.with_name(f"{stem}.index.json").write_text(json.dumps({"weight_map": places}), encoding="utf-8")


def test_a_text_encoder_in_several_files_keeps_all_of_them(tmp_path: Path) -> None:
    base = tiny.tiny_diffusers_folder(tmp_path / "base")
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    split(base / "text_encoder" / "model.safetensors", *names)
    lora = text_lora(tmp_path / "text.safetensors", opened(base).parts.modules, SD1)
    baked(base, [(lora, 1.0)], tmp_path / "out")
    there = {path.name for path in (tmp_path / "out" / "text_encoder").iterdir()}
    assert there == {*names, "config.json", "model.safetensors.index.json"}
    assert opened(tmp_path / "out").parts.texts


def test_a_text_encoder_in_several_pickles_is_refused_by_name(tmp_path: Path) -> None:
    base = tiny.tiny_diffusers_folder(tmp_path / "base")
    split(base / "text_encoder" / "model.safetensors", *(f"pytorch_model-{number}.bin" for number in (1, 2)))
    lora = text_lora(tmp_path / "text.safetensors", opened(base).parts.modules, SD1)
    with pytest.raises(UnsupportedCheckpoint, match=r"has its text_encoder in several \.bin files"):
        bake_task(base, [(lora, 1.0)], tmp_path / "out")
