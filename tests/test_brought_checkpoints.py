"""Checkpoints as people have them: averaged weights, no VAE, 8-bit floats, packed, wrapped, with more in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from erasure.errors import BrokenCheckpoint, CheckpointError, UnsupportedCheckpoint
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.loading import load_parts
from erasure.model.model import Model, open_model
from erasure.model.opening import Opening
from erasure.model.parts import ModelParts
from erasure.model.weights_file import open_weights
from tests import tiny

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
OUT = UNET + "out.2.weight"
CONV_OUT = "conv_out.weight"
PARTS = ("unet", "vae", "text_encoder")
State = dict[str, torch.Tensor]


@pytest.fixture(scope="session")
def _state(tiny_checkpoint: Path) -> State:
    with safe_open(str(tiny_checkpoint), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture
def state(_state: State) -> State:
    return {name: tensor.clone() for name, tensor in _state.items()}


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A folder with the yaml and text folder of the tiny checkpoint; a test puts its own weights there."""
    shutil.copy(tiny_checkpoint.with_suffix(".yaml"), tmp_path / "tiny.yaml")
    shutil.copytree(tiny_checkpoint.with_name("tiny-text"), tmp_path / "tiny-text")
    return tmp_path


def write(state: State, folder: Path) -> Path:
    save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "tiny.safetensors")
    return folder / "tiny.safetensors"


def load(state: State, folder: Path, opening: Opening | None = None) -> ModelParts:
    return load_parts(inspect_checkpoint(write(state, folder)).opened(opening or Opening()))


def edit_yaml(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = yaml.safe_load((folder / "tiny.yaml").read_text(encoding="utf-8"))
    change(document["model"]["params"])
    (folder / "tiny.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


def assert_same(models: ModelParts, reference: ModelParts) -> None:
    for part in PARTS:
        given, expected = getattr(models, part).state_dict(), getattr(reference, part).state_dict()
        assert given.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(given[name], tensor, rtol=0, atol=0)


# --- averaged weights beside plain ones


def averaged(state: State) -> State:
    return {
        "model_ema." + name.removeprefix("model.").replace(".", ""): tensor + 1
        for name, tensor in state.items()
        if name.startswith(UNET)
    } | {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7, dtype=torch.int32)}


@pytest.mark.parametrize(
    ("use_ema", "opening", "more", "note"),
    [
        (None, Opening(), 0, "the plain ones are used as web UIs do"),
        (False, Opening(), 0, "the plain ones are used as web UIs do"),
        (True, Opening(), 1, "the averaged ones are used"),
        (True, Opening("plain"), 0, "the plain ones are used"),
        (None, Opening("averaged"), 1, "the averaged ones are used"),
    ],
)
def test_the_weights_that_web_uis_draw_with_are_taken_unless_others_are_chosen(
    use_ema: bool | None, opening: Opening, more: int, note: str, state: State, folder: Path
) -> None:
    edit_yaml(folder, lambda params: params.pop("use_ema") if use_ema is None else params.update(use_ema=use_ema))
    info = inspect_checkpoint(write({**state, **averaged(state)}, folder)).opened(opening)
    assert info.averaged == bool(more)
    assert note in info.notes[0]
    assert f"--ema {'plain' if more else 'averaged'}" in info.notes[0]
    if use_ema is not None and opening.ema == "auto":  # loading takes longest
        torch.testing.assert_close(load_parts(info).unet.conv_out.weight, state[OUT] + more)


def test_averaged_weights_that_are_incomplete_are_not_taken(state: State, folder: Path) -> None:
    ema = averaged(state)
    del ema["model_ema.diffusion_modelout2weight"]
    path = write({**state, **ema}, folder)
    edit_yaml(folder, lambda params: params.update(use_ema=True))
    info = inspect_checkpoint(path)
    assert not info.has_ema
    torch.testing.assert_close(load_parts(info).unet.conv_out.weight, state[OUT])
    assert "lacks averaged weights" in info.notes[0]
    with pytest.raises(UnsupportedCheckpoint, match="no complete set of averaged"):
        info.opened(Opening("averaged"))


def test_averaged_weights_alone_are_named(state: State, folder: Path) -> None:
    rest = {name: tensor for name, tensor in state.items() if not name.startswith(UNET)}
    with pytest.raises(UnsupportedCheckpoint, match=r"averaged \(EMA\) weights alone"):
        inspect_checkpoint(write({**rest, **averaged(state)}, folder))


def other_unet(source: Path, place: Path) -> None:
    """Put the U-Net of a diffusers folder, with 1 added to its weights, in ``place``."""
    with safe_open(str(source / "diffusion_pytorch_model.safetensors"), framework="pt") as file:
        raised = {name: file.get_tensor(name) + 1 for name in file.keys()}  # noqa: SIM118
    if place.parent != source:
        place.parent.mkdir()
        shutil.copy(source / "config.json", place.parent)
    save_file(raised, place)


@pytest.mark.parametrize(
    ("place", "auto", "plain", "averaged"),
    [
        ("unet_ema/diffusion_pytorch_model.safetensors", 0, 0, 1),
        ("unet/diffusion_pytorch_model.non_ema.safetensors", 0, 1, 0),
    ],
)
def test_of_a_diffusers_folder_the_weights_that_diffusers_loads_are_taken(
    place: str, auto: int, plain: int, averaged: int, tiny_diffusers_folder: Path, tmp_path: Path, state: State
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_diffusers_folder, folder)
    other_unet(folder / "unet", folder / place)
    info = inspect_checkpoint(folder)
    assert info.has_ema
    for opening, more in ((Opening(), auto), (Opening("plain"), plain), (Opening("averaged"), averaged)):
        models = load_parts(info.opened(opening))
        torch.testing.assert_close(models.unet.conv_out.weight, state[OUT] + more)
        taken = "averaged" if more == averaged else "plain"
        assert f"the {taken} ones are used" in models.notes[0]


def test_a_diffusers_folder_that_has_nothing_but_averaged_weights_is_opened(
    tiny_diffusers_folder: Path, tmp_path: Path, tiny_models: ModelParts
) -> None:
    shutil.copytree(tiny_diffusers_folder, tmp_path / "model")
    (tmp_path / "model" / "unet").rename(tmp_path / "model" / "unet_ema")
    assert_same(load_parts(tmp_path / "model"), tiny_models)


# --- the VAE


def without(state: State, *prefixes: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


def vae_of(state: State, prefix: str = "") -> State:
    return {prefix + name.removeprefix(VAE): t for name, t in state.items() if name.startswith(VAE)}


def picture(model: Model) -> Any:
    latent = torch.randn(model.latent_shape, generator=torch.Generator().manual_seed(1))
    return model.decode(latent)


def test_without_a_vae_pictures_are_rough_and_that_is_said(state: State, folder: Path) -> None:
    info = inspect_checkpoint(write(without(state, VAE), folder))
    model = open_model(info, precision="bf16")
    assert model.vae is None
    assert info.size.vae == 0
    assert picture(model).size == (64, 64) == (model.pixels, model.pixels)
    assert len(np.unique(np.asarray(picture(model)))) > 100
    assert "no VAE that could decode" in model.parts.notes[0]
    model.move("cpu")


def test_a_decoder_is_enough_of_a_vae(state: State, folder: Path, tiny_model: Model) -> None:
    path = write(without(state, VAE + "encoder.", VAE + "quant_conv."), folder)
    model = open_model(inspect_checkpoint(path))
    assert picture(model).tobytes() == picture(tiny_model).tobytes()
    assert model.parts.notes == ()


def test_an_encoder_alone_draws_nothing(state: State, folder: Path) -> None:
    path = write(without(state, VAE + "decoder."), folder)
    assert "no VAE that could decode" in inspect_checkpoint(path).notes[0]
    assert load_parts(path).vae is None


@pytest.mark.parametrize(
    ("prefix", "suffix", "given"), [("", ".safetensors", True), (VAE, ".ckpt", False), ("vae.", ".safetensors", False)]
)
def test_a_vae_of_its_own_file_draws(
    prefix: str, suffix: str, given: bool, state: State, folder: Path, tiny_model: Model
) -> None:
    vae = folder / f"mine.vae{suffix}"
    weights = vae_of(state, prefix) | {"loss.logvar": torch.zeros(()), "model_ema.decay": torch.ones(1)}
    if suffix == ".ckpt":
        torch.save({"state_dict": weights}, vae)
    else:
        save_file(weights, vae)
    opening = Opening(vae=vae) if given else Opening(spare_vae=vae)
    model = open_model(inspect_checkpoint(write(without(state, VAE), folder)).opened(opening))
    assert picture(model).tobytes() == picture(tiny_model).tobytes()
    assert model.parts.notes == (f"pictures are drawn with the VAE {vae.name}",)


def test_a_vae_that_is_given_counts_before_the_checkpoints_own_and_a_spare_one_after_it(
    state: State, folder: Path
) -> None:
    vae = folder / "other.safetensors"
    save_file({name: tensor * 0.5 for name, tensor in vae_of(state).items()}, vae)
    info = inspect_checkpoint(write(state, folder))
    given, spare, own = (load_parts(info.opened(o)).vae for o in (Opening(vae=vae), Opening(spare_vae=vae), Opening()))
    assert given is not None
    assert spare is not None
    assert own is not None
    torch.testing.assert_close(given.decoder.conv_out.weight, own.decoder.conv_out.weight * 0.5)
    torch.testing.assert_close(spare.decoder.conv_out.weight, own.decoder.conv_out.weight)


@pytest.mark.parametrize("part", ["", "vae"])
def test_a_vae_of_a_diffusers_folder_draws_for_any_checkpoint(
    part: str, state: State, folder: Path, tiny_diffusers_folder: Path, tiny_model: Model
) -> None:
    opening = Opening(vae=tiny_diffusers_folder / part)
    model = open_model(inspect_checkpoint(write(without(state, VAE), folder)).opened(opening))
    assert picture(model).tobytes() == picture(tiny_model).tobytes()


def test_a_diffusers_folder_needs_no_vae(
    tiny_diffusers_folder: Path, tmp_path: Path, state: State, tiny_model: Model
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_diffusers_folder, folder)
    shutil.rmtree(folder / "vae")
    info = inspect_checkpoint(folder)
    assert (info.size.vae, info.size.pixels) == (0, 64)
    assert picture(open_model(info)).size == (64, 64)
    with pytest.raises(UnsupportedCheckpoint, match="not a VAE"):
        info.opened(Opening(vae=tmp_path / "model" / "unet"))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda state: without(state, VAE), "not a VAE that can decode"),
        (lambda state: {**vae_of(state), "decoder.conv_in.weight": torch.zeros(32, 16, 3, 3)}, "16 channels"),
        (lambda state: {**vae_of(state), "decoder.conv_out.weight": torch.zeros(4, 4, dtype=torch.int8)}, "quantised"),
    ],
)
def test_a_vae_that_cannot_draw_is_named_and_a_spare_one_noted(
    make: Callable[[State], State], what: str, state: State, folder: Path
) -> None:
    vae = folder / "bad.safetensors"
    save_file({name: tensor.clone() for name, tensor in make(state).items()}, vae)
    info = inspect_checkpoint(write(without(state, VAE), folder))
    with pytest.raises(CheckpointError, match=what):
        info.opened(Opening(vae=vae))
    assert what in info.opened(Opening(spare_vae=vae)).notes[0]
    with pytest.raises(BrokenCheckpoint, match="no VAE at"):
        info.opened(Opening(vae=folder / "none.safetensors"))


NEW = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OLD = {"q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}


@pytest.mark.parametrize(("names", "sides"), [({}, 4), (NEW, 2), (NEW, 4), (OLD, 3)])
def test_vae_attention_loads_under_all_names_and_shapes(
    names: dict[str, str], sides: int, state: State, folder: Path, tiny_models: ModelParts
) -> None:
    changed = {}
    for name, tensor in state.items():
        before, mark, rest = name.partition(".mid.attn_1.")
        layer, _, kind = rest.rpartition(".")
        if mark and layer != "norm":
            name = f"{before}{mark}{names.get(layer, layer)}.{kind}"
            tensor = tensor.reshape(*tensor.shape[:2], *[1] * (sides - 2)) if kind == "weight" else tensor
        changed[name] = tensor
    assert_same(load(changed, folder), tiny_models)


def test_vae_attention_of_a_diffusers_folder_may_be_a_convolution(
    tiny_diffusers_folder: Path, tmp_path: Path, tiny_models: ModelParts
) -> None:
    shutil.copytree(tiny_diffusers_folder, tmp_path / "model")
    assert tiny_models.vae is not None
    shaped = {
        name: tensor[..., None, None].clone() if ".to_" in name and tensor.ndim == 2 else tensor
        for name, tensor in tiny_models.vae.state_dict().items()
    }
    save_file(shaped, tmp_path / "model" / "vae" / "diffusion_pytorch_model.safetensors")
    assert_same(load_parts(tmp_path / "model"), tiny_models)


def test_a_vae_with_diffusers_names_in_one_file_loads(state: State, folder: Path, tiny_models: ModelParts) -> None:
    assert tiny_models.vae is not None
    renamed = {VAE + name: tensor for name, tensor in tiny_models.vae.state_dict().items()}
    assert_same(load({**without(state, VAE), **renamed}, folder), tiny_models)


# --- number types


@pytest.mark.parametrize(
    ("dtype", "suffix", "parts"),
    [
        (torch.float8_e4m3fn, ".safetensors", ("",)),
        (torch.float8_e5m2, ".ckpt", ("",)),
        (torch.float8_e5m2, ".safetensors", (VAE, TEXT)),
    ],
)
def test_8_bit_floats_load_in_any_part(
    dtype: torch.dtype, suffix: str, parts: tuple[str, ...], state: State, folder: Path
) -> None:
    small = {name: t.to(dtype) if name.startswith(parts) else t for name, t in state.items()}
    path = folder / f"tiny{suffix}"
    if suffix == ".ckpt":
        try:
            torch.save({"state_dict": small}, path)
        except KeyError:
            pytest.skip(f"this torch saves no {dtype}")
    else:
        save_file(small, path)
    models = load_parts(path)
    torch.testing.assert_close(models.unet.conv_out.weight, small[OUT].float())
    norm = TEXT + "text_model.final_layer_norm.weight"
    torch.testing.assert_close(models.text_encoder.state_dict()[final_norm(models)], small[norm].float())
    assert {p.dtype for part in PARTS for p in getattr(models, part).parameters()} == {torch.float32}


def final_norm(models: ModelParts) -> str:
    """The name of the text encoder's last weight, which versions of transformers call differently."""
    names = list(models.text_encoder.state_dict())
    return str(next(name for name in names if name.endswith("final_layer_norm.weight")))


def test_8_bit_floats_that_are_no_numbers_are_named(state: State, folder: Path) -> None:
    state[OUT][0, 0, 0, 0] = float("nan")
    with pytest.raises(BrokenCheckpoint, match="not finite"):
        load({**state, OUT: state[OUT].to(torch.float8_e4m3fn)}, folder)


PACKED: dict[str, tuple[State, str]] = {
    "int8": ({OUT: torch.zeros(4, 32, 3, 3, dtype=torch.int8)}, "8-bit integers, such as " + OUT),
    "int8 text encoder": (
        {TEXT + "text_model.final_layer_norm.weight": torch.zeros(32, dtype=torch.int8)},
        "8-bit integers, such as",
    ),
    "int8 vae": ({VAE + "decoder.conv_out.weight": torch.zeros(3, dtype=torch.int8)}, "8-bit integers, such as"),
    "bitsandbytes int8": ({UNET + "a.SCB": torch.zeros(4)}, "8-bit integers, of bitsandbytes"),
    "nf4": ({OUT + ".quant_state.bitsandbytes__nf4": torch.zeros(4, dtype=torch.uint8)}, "4 bits each, nf4"),
    "gptq": ({UNET + "a.qweight": torch.zeros(4, dtype=torch.int32)}, "GPTQ or AWQ"),
    "scaled": ({UNET + "scaled_fp8": torch.zeros(0).to(torch.float8_e4m3fn)}, "8-bit floats with scales"),
    "quanto": ({OUT + "._data": torch.zeros(4, dtype=torch.int8)}, "few bits each, of quanto"),
    "bytes": ({OUT: torch.zeros(4, dtype=torch.uint8)}, "bytes, such as"),
}


@pytest.mark.parametrize("kind", PACKED)
def test_packed_weights_are_named_as_what_they_are(kind: str, state: State, folder: Path) -> None:
    more, what = PACKED[kind]
    with pytest.raises(UnsupportedCheckpoint, match="a quantised model") as error:
        inspect_checkpoint(write({**state, **more}, folder))
    assert what in str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_what_torch_has_quantised_is_named(state: State, folder: Path) -> None:
    quantised = torch.quantize_per_tensor(state[OUT], 0.1, 0, torch.qint8)
    torch.save({**state, OUT: quantised}, folder / "tiny.ckpt")
    with pytest.raises(UnsupportedCheckpoint, match="8-bit integers, of torch"):
        inspect_checkpoint(folder / "tiny.ckpt")


def test_a_quantised_diffusers_folder_is_named(tiny_diffusers_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_diffusers_folder, folder)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    with safe_open(str(file), framework="pt") as opened:
        weights = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    save_file({**weights, CONV_OUT: weights[CONV_OUT].to(torch.int8)}, file)
    with pytest.raises(UnsupportedCheckpoint, match="8-bit integers"):
        inspect_checkpoint(folder)
    change_json(folder / "unet" / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    save_file(weights, file)
    with pytest.raises(UnsupportedCheckpoint, match="a quantised unet"):
        inspect_checkpoint(folder)


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


# --- what else is in a file


def test_what_other_loaders_ignore_is_ignored_with_a_note(state: State, folder: Path, tiny_models: ModelParts) -> None:
    surplus = {
        TEXT + "text_projection.weight": torch.zeros(2, 2),
        "cond_stage_model.logit_scale": torch.tensor(float("inf")),
        TEXT + "vision_model.encoder.layers.0.mlp.fc1.weight": torch.zeros(2, 2),
        VAE + "model_ema.num_updates": torch.tensor(3, dtype=torch.int32),
        VAE + "decoder.extra.weight": torch.zeros(2),
        VAE + "loss.logvar": torch.zeros(1),
        UNET + "step": torch.tensor(3, dtype=torch.int64),
        UNET + "time_embed.extra": torch.zeros(2),
        UNET + "input_blocks.1.0.extra.weight": torch.zeros(2),
        "depth_model.weight": torch.zeros(2),
        "global_step": torch.tensor(7, dtype=torch.int64),
    }
    models = load({**state, **surplus}, folder)
    assert_same(models, tiny_models)
    assert len(models.ignored) == 7
    assert "7 weights that have no place in the model" in models.notes[-1]


def test_a_whole_clip_in_a_diffusers_folder_is_no_trouble(
    tiny_diffusers_folder: Path, tmp_path: Path, tiny_models: ModelParts
) -> None:
    shutil.copytree(tiny_diffusers_folder, tmp_path / "model")
    more = {"logit_scale": torch.zeros(()), "vision_model.post_layernorm.weight": torch.zeros(3)}
    weights = {**tiny_models.text_encoder.state_dict(), **more}
    weights = {n if n.startswith(("text_model.", *more)) else f"text_model.{n}": t for n, t in weights.items()}
    save_file(weights, tmp_path / "model" / "text_encoder" / "model.safetensors")
    models = load_parts(tmp_path / "model")
    assert_same(models, tiny_models)
    assert sorted(models.ignored) == sorted(more)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (TEXT + "text_model.encoder.layers.2.mlp.fc1.weight", "text encoder"),
        (UNET + "input_blocks.1.1.transformer_blocks.1.attn1.to_q.weight", "U-Net"),
        (VAE + "decoder.up.0.block.3.conv1.weight", "VAE"),
    ],
)
def test_layers_beyond_those_of_the_configuration_are_no_surplus(
    name: str, part: str, state: State, folder: Path
) -> None:
    with pytest.raises(BrokenCheckpoint, match=f"weights of layers that its {part}'s configuration does not have"):
        load({**state, name: torch.zeros(2, 2)}, folder)


def outer(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


def inner(part: str, word: str) -> Callable[[State], State]:
    return lambda state: {name.replace(part, part + word): tensor for name, tensor in state.items()}


WRAPPED: dict[str, Callable[[State], State]] = {
    "DataParallel": outer("module."),
    "compile": outer("_orig_mod."),
    "a part compiled": inner(UNET, "_orig_mod."),
    "both": outer("module._orig_mod."),
    "AUTOMATIC1111's text encoder": inner("cond_stage_model.", "wrapped."),
    "AUTOMATIC1111's embeddings": inner("token_embedding.", "wrapped."),
    "a model in a model": outer("model."),
    "a trainer": outer("state_dict."),
    "a trainer of a compiled model": outer("sd_model._orig_mod."),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped_names_are_taken_off(kind: str, state: State, tmp_path: Path) -> None:
    few = {name: torch.zeros(1) for name in state}
    save_file(WRAPPED[kind](few), tmp_path / "tiny.safetensors")
    weights = open_weights(tmp_path / "tiny.safetensors")
    assert weights.shapes.keys() == state.keys()
    assert weights.wrapped


def test_a_wrapped_file_loads_with_a_note(state: State, folder: Path, tiny_models: ModelParts) -> None:
    models = load(WRAPPED["a trainer of a compiled model"](state), folder)
    assert_same(models, tiny_models)
    assert "have additions, which were taken off" in models.notes[0]


def test_a_plain_name_counts_before_a_wrapped_one(state: State, folder: Path, tiny_models: ModelParts) -> None:
    wrapped = {"module." + name: tensor + 1 for name, tensor in state.items()}
    assert_same(load({**wrapped, **state}, folder), tiny_models)


@pytest.mark.parametrize("path", [["model"], ["module"], ["state_dict", "state_dict"], ["model_state_dict"]])
def test_nested_tables_are_opened(path: list[str], state: State, tmp_path: Path) -> None:
    content: dict[str, Any] = {name: torch.zeros(1) for name in state}
    for key in reversed(path):
        content = {"epoch": 3, key: content, "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "tiny.ckpt")
    assert open_weights(tmp_path / "tiny.ckpt").shapes.keys() == state.keys()


def test_parameters_with_attributes_of_their_own_are_read(state: State, folder: Path, tiny_models: ModelParts) -> None:
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}
    parameters[OUT].note = "of a trainer"  # type: ignore[attr-defined]
    torch.save(parameters, folder / "tiny.ckpt")
    assert_same(load_parts(folder / "tiny.ckpt"), tiny_models)


@pytest.mark.parametrize("name", ["time_embed.cond_proj.weight", "time_embedding.cond_proj.weight"])
def test_a_latent_consistency_model_is_named(name: str, state: State, folder: Path) -> None:
    with pytest.raises(UnsupportedCheckpoint, match="latent consistency model"):
        inspect_checkpoint(write({**state, UNET + name: torch.zeros(32, 256)}, folder))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"time_cond_proj_dim": 256}, "latent consistency model"),
        ({"class_embed_type": "timestep"}, "takes more than text"),
        ({"encoder_hid_dim_type": "text_proj"}, "takes more than text"),
    ],
)
def test_a_diffusers_folder_with_another_input_is_named(
    changes: dict[str, object], what: str, tiny_diffusers_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_diffusers_folder, tmp_path / "model")
    change_json(tmp_path / "model" / "unet" / "config.json", **changes)
    with pytest.raises(UnsupportedCheckpoint, match=what):
        inspect_checkpoint(tmp_path / "model")


# --- the text encoder's layer


def test_the_last_layer_but_one_is_read_if_the_yaml_says_so(
    state: State, folder: Path, tiny_models: ModelParts
) -> None:
    edit_yaml(folder, lambda params: params["cond_stage_config"]["params"].update(layer="penultimate"))
    models = load(state, folder)
    ids = models.tokenizer(["a church"], return_tensors="pt").input_ids
    with torch.no_grad():
        states = models.text_encoder(ids).last_hidden_state
        hidden = tiny_models.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
        text_model = getattr(tiny_models.text_encoder, "text_model", tiny_models.text_encoder)
        torch.testing.assert_close(states, text_model.final_layer_norm(hidden))
    assert "Clip skip 2" in models.notes[0]
    assert not models.ignored


@pytest.mark.parametrize("layer", ["hidden", "pooled", "first"])
def test_another_layer_is_refused(layer: str, state: State, folder: Path) -> None:
    edit_yaml(folder, lambda params: params["cond_stage_config"]["params"].update(layer=layer))
    with pytest.raises(UnsupportedCheckpoint, match=f"its layer '{layer}'"):
        inspect_checkpoint(write(state, folder))


def test_tiny_is_what_it_is_compared_with(state: State, folder: Path, tiny_models: ModelParts) -> None:
    models = load(state, folder)
    assert_same(models, tiny_models)
    assert models.notes == ()
    assert tiny.tiny_config["unet"]["widths"][0] == 32
