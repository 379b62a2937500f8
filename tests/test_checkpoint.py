"""What inspect_checkpoint accepts, and what it refuses by name; hashes."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from emoji_sd.original_layout import unet_key
from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.model.checkpoint import inspect_checkpoint, sha256, short_hash
from tests import tiny

State = dict[str, torch.Tensor]
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."


def empty(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float16)


@pytest.fixture(scope="session")
def names(tiny_checkpoint: Path) -> list[str]:
    with safe_open(str(tiny_checkpoint), framework="pt") as file:
        return list(file.keys())


@pytest.fixture
def state(names: list[str]) -> State:
    """A state dict with the names of the original layout; the values do not matter to an inspection."""
    tensors = {name: empty(1) for name in names}
    tensors[UNET + "input_blocks.0.0.weight"] = empty(2, 4, 3, 3)
    for name in names:
        if name.endswith("attn2.to_k.weight"):
            tensors[name] = empty(2, 768)
    return tensors


def contexts(state: State, width: int) -> None:
    for name in state:
        if name.endswith("attn2.to_k.weight"):
            state[name] = empty(2, width)


def sd2(state: State) -> State:
    contexts(state, 1024)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(TEXT)}
    return {**kept, TEXT + "model.ln_final.weight": empty(1024)}


def refiner(state: State) -> State:
    contexts(state, 1280)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(TEXT)}
    return {**kept, "conditioner.embedders.0.model.ln_final.weight": empty(1280)}


def alt_diffusion(width: int) -> Callable[[State], State]:
    def changed(state: State) -> State:
        contexts(state, width)
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(TEXT)}
        return {**kept, "cond_stage_model.roberta.embeddings.word_embeddings.weight": empty(9, 4)}

    return changed


def conv_in(channels: int) -> Callable[[State], State]:
    return lambda state: {**state, UNET + "input_blocks.0.0.weight": empty(2, channels, 3, 3)}


def only(prefix: str, strip: str = "") -> Callable[[State], State]:
    return lambda state: {n.removeprefix(strip): t for n, t in state.items() if n.startswith(prefix)}


def of(*names: str, shape: tuple[int, ...] = (4, 4)) -> Callable[[State], State]:
    return lambda _: {name: empty(*shape) for name in names}


FOREIGN: dict[str, tuple[Callable[[State], State], str]] = {
    "sd2 inpainting": (lambda state: conv_in(9)(sd2(state)), "an inpainting model"),
    "sd2 depth": (lambda state: conv_in(5)(sd2(state)), "a depth-to-image model"),
    "altdiffusion": (alt_diffusion(768), "a multilingual AltDiffusion model"),
    "altdiffusion of 18 languages": (alt_diffusion(1024), "a multilingual AltDiffusion model"),
    "sdxl refiner": (refiner, "a Stable Diffusion XL refiner model"),
    "sd3": (of(UNET + "joint_blocks.0.x_block.attn.qkv.weight"), "a Stable Diffusion 3 model"),
    "flux": (of("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"), "a Flux model"),
    "flux in a checkpoint": (of(UNET + "double_blocks.0.img_attn.qkv.weight"), "a Flux model"),
    "inpainting": (conv_in(9), "an inpainting model"),
    "pix2pix": (conv_in(8), "an InstructPix2Pix model"),
    "vae": (only(VAE, strip=VAE), "a VAE"),
    "vae with prefix": (only(VAE), "a VAE"),
    "text encoder": (only(TEXT), "a text encoder"),
    "lora": (of("lora_unet_mid_block_attentions_0.lora_down.weight"), "a LoRA file"),
    "diffusers lora": (of("unet.mid_block.attentions.0.to_q.lora_A.weight"), "a LoRA file"),
    "lycoris": (of("lora_unet_mid_block_attentions_0.hada_w1_a"), "a LoRA (LyCORIS) file"),
    "embedding": (of("emb_params", shape=(3, 768)), "a textual inversion embedding"),
    "controlnet": (of("control_model.input_blocks.0.0.weight"), "a ControlNet file"),
    "unet": (only(UNET), "a U-Net without VAE and text encoder"),
    "diffusers unet": (of("down_blocks.0.resnets.0.conv1.weight"), "a U-Net without VAE and text encoder"),
    "no text encoder": (
        lambda s: {n: t for n, t in s.items() if not n.startswith(TEXT)},
        "a U-Net without text encoder",
    ),
    "something else": (of("layer1.0.weight", "layer2.0.weight", "fc.weight"), "an unknown kind"),
    "quantised": (
        lambda s: {**s, UNET + "out.2.weight": torch.zeros(1, dtype=torch.int8)},
        "a quantised model",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_another_model_is_refused_by_name(kind: str, suffix: str, state: State, tmp_path: Path) -> None:
    change, what = FOREIGN[kind]
    path = tmp_path / f"model{suffix}"
    write(change(state), path)
    with pytest.raises(UnsupportedCheckpoint, match="Choose") as error:
        inspect_checkpoint(path)
    assert what in str(error.value)


def write(state: State, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    else:
        torch.save({"state_dict": state}, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_sd1_is_accepted_with_the_shipped_configuration(suffix: str, state: State, tmp_path: Path) -> None:
    info = inspect_checkpoint(write(state, tmp_path / f"My model.v1{suffix}"))
    assert info.name == "My model.v1"
    assert info.layout == "original"
    assert info.config == tiny.DATA / "sd1.yaml"
    assert not info.has_ema


def test_full_size_names_and_shapes_are_accepted(tmp_path: Path) -> None:
    """SD 1.x at full size as a header over a hole in the file: no 4 GB of weights are written."""
    with torch.device("meta"):
        unet = tiny.build_unet(tiny.full_size_config["unet"])
    shapes = {UNET + unet_key(name): list(t.shape) for name, t in unet.state_dict().items()}
    assert len(shapes) == 686
    shapes |= {VAE + "encoder.conv_in.weight": [128, 3, 3, 3]}
    shapes |= {TEXT + "transformer.text_model.final_layer_norm.weight": [768]}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(torch.Size(shape).numel())
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path = tmp_path / "full.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    assert inspect_checkpoint(path).layout == "original"


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (cut, "truncated"),
    "truncated header": (lambda data: data[:500], "truncated inside its header"),
    "few bytes": (lambda data: data[:5], "truncated"),
    "corrupt header": (lambda data: data[:8] + b"}{" + data[10:], "damaged header"),
    "bytes that follow": (lambda data: data + b"more", "4 bytes follow its weights"),
    "no safetensors": (lambda data: b"\xff" * 64 + data, "not a safetensors file"),
    "empty": (lambda data: b"", "is empty"),
    "zeros": (lambda data: b"\0" * 4096, "filled with zeros"),
    "web page": (lambda data: b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
    "git-lfs": (lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs pointer"),
    "server error": (lambda data: b'{"error": "unauthorised"}', "a server's error message"),
    "torch file": (lambda data: b"PK\x03\x04" + data, "a torch file with the wrong extension"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_by_name(kind: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    change, what = BROKEN[kind]
    path = tmp_path / "broken.safetensors"
    path.write_bytes(change(tiny_checkpoint.read_bytes()))
    with pytest.raises(BrokenCheckpoint, match=what) as error:
        inspect_checkpoint(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenCheckpoint, match="no checkpoint at"):
        inspect_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("name", ["picture.png", "model"])
def test_an_unknown_extension_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(UnsupportedCheckpoint, match="unknown extension"):
        inspect_checkpoint(tmp_path / name)


def test_a_gguf_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UnsupportedCheckpoint, match="a GGUF file, whose weights are packed"):
        inspect_checkpoint(tmp_path / "model.gguf")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_ckpt_is_refused(legacy: bool, state: State, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    big = {**state, UNET + "out.2.weight": torch.zeros(10_000)}
    torch.save({"state_dict": big}, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(BrokenCheckpoint, match=r"damaged|lacks the weights"):
        inspect_checkpoint(path)


class Bomb:
    """Leaves a file behind when a pickle that holds it is run."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_ckpt_runs_nothing(legacy: bool, state: State, tmp_path: Path) -> None:
    path, target = tmp_path / "model.ckpt", tmp_path / "ran"
    content = {"state_dict": {**state, "callback": Bomb(target)}, "bomb": Bomb(target)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    inspect_checkpoint(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(Bomb(target)))  # it would have: the bomb is live
    assert target.exists()


def edited(checkpoint: Path, folder: Path, **changes: object) -> Path:
    """A copy of the checkpoint and its yaml, with ``model.params`` changed."""
    path = folder / "model.safetensors"
    shutil.copy(checkpoint, path)
    document = tiny.ldm_config(tiny.tiny_config)
    document["model"]["params"].update(changes)
    path.with_suffix(".yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"parameterization": "flow"}, "predicts something else"),
        ({"parameterization": "x0"}, "predicts the picture"),
        (
            {"cond_stage_config": {"target": "ldm.modules.FrozenOpenCLIPEmbedder"}},
            "a Stable Diffusion 2 model",
        ),
        ({"beta_schedule": "cosine"}, "noise schedule"),
        ({"timesteps": 500}, "noise schedule"),
    ],
)
def test_the_yaml_beside_is_heeded(
    changes: dict[str, object], what: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedCheckpoint, match=what):
        inspect_checkpoint(edited(tiny_checkpoint, tmp_path, **changes))


@pytest.mark.parametrize("text", ["a: [", "just words", "model: {params: 3}", "\x00"])
def test_a_yaml_that_is_no_configuration_is_refused(text: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = edited(tiny_checkpoint, tmp_path)
    path.with_suffix(".yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BrokenCheckpoint, match=r"model\.yaml .*(cannot be read|lacks model\.params)"):
        inspect_checkpoint(path)


@pytest.mark.parametrize("value", ["many", 0, -1, float("inf"), [1], None])
def test_a_number_that_makes_no_sense_is_named(value: object, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokenCheckpoint, match=r"model\.params\.timesteps is"):
        inspect_checkpoint(edited(tiny_checkpoint, tmp_path, timesteps=value))


def test_a_missing_text_folder_is_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = edited(tiny_checkpoint, tmp_path, cond_stage_config={"params": {"version": "elsewhere"}})
    with pytest.raises(BrokenCheckpoint, match=r"elsewhere, which lacks config\.json"):
        inspect_checkpoint(path)


def test_a_diffusers_folder_is_accepted(tiny_diffusers_folder: Path) -> None:
    info = inspect_checkpoint(tiny_diffusers_folder)
    assert (info.layout, info.name) == ("diffusers", "tiny")
    assert info.config == tiny_diffusers_folder / "model_index.json"


def test_json_and_yaml_may_have_a_byte_order_mark(
    tiny_checkpoint: Path, tiny_diffusers_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_diffusers_folder, tmp_path / "model")
    for file in ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json"):
        path = tmp_path / "model" / file
        path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert inspect_checkpoint(tmp_path / "model").layout == "diffusers"
    path = edited(tiny_checkpoint, tmp_path).with_suffix(".yaml")
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert inspect_checkpoint(tmp_path / "model.safetensors").layout == "original"


@pytest.mark.parametrize(
    ("file", "changes", "error", "what"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLAdapterPipeline"}, UnsupportedCheckpoint, "XL"),
        ("model_index.json", {"_class_name": "FluxPipeline"}, UnsupportedCheckpoint, "a Flux model"),
        ("model_index.json", {"_class_name": "DiTPipeline"}, UnsupportedCheckpoint, "DiTPipeline"),
        (
            "scheduler/scheduler_config.json",
            {"prediction_type": "sample"},
            UnsupportedCheckpoint,
            "predicts the picture",
        ),
        (
            "scheduler/scheduler_config.json",
            {"num_train_timesteps": 50},
            UnsupportedCheckpoint,
            "1000 noise levels",
        ),
        ("unet/config.json", {"in_channels": 9}, UnsupportedCheckpoint, "an inpainting model"),
        ("unet/config.json", {"in_channels": 5}, UnsupportedCheckpoint, "a depth-to-image model"),
        ("unet/config.json", {"cross_attention_dim": 2048}, UnsupportedCheckpoint, "Stable Diffusion XL"),
        ("unet/config.json", {"cross_attention_dim": 64}, BrokenCheckpoint, "mixes two models"),
    ],
)
def test_another_diffusers_folder_is_refused_by_name(
    file: str,
    changes: dict[str, object],
    error: type[Exception],
    what: str,
    tiny_diffusers_folder: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_diffusers_folder, folder)
    document = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps({**document, **changes}), encoding="utf-8")
    with pytest.raises(error, match=what):
        inspect_checkpoint(folder)


@pytest.mark.parametrize("missing", ["model_index.json", "vae/diffusion_pytorch_model.safetensors", "unet/config.json"])
def test_an_incomplete_diffusers_folder_is_refused(missing: str, tiny_diffusers_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_diffusers_folder, folder)
    (folder / missing).unlink()
    with pytest.raises(BrokenCheckpoint, match=missing.rpartition("/")[2]):
        inspect_checkpoint(folder)


def test_hashes_are_those_of_the_web_ui(tmp_path: Path) -> None:
    data = bytes(i % 251 for i in range(0x120000))
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    assert sha256(path) == hashlib.sha256(data).hexdigest()
    assert short_hash(path) == hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"one")
    first = sha256(path)
    path.write_bytes(b"three")
    assert sha256(path) != first


def test_a_folder_has_the_hash_of_its_unet(tiny_diffusers_folder: Path) -> None:
    file = tiny_diffusers_folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert sha256(tiny_diffusers_folder) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert short_hash(tiny_diffusers_folder) == short_hash(file)
