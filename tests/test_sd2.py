"""Stable Diffusion 2 from checkpoint to LoRA file: told, read, trained, baked and handed on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from diffusers import DDIMScheduler, StableDiffusionPipeline
from packaging.version import Version
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from emoji_sd.original_layout import unet_key
from erasure.bake.baking import bake
from erasure.bake.task import bake_task
from erasure.cli import main
from erasure.errors import LoraFileError, UnsupportedCheckpoint
from erasure.families.family import Family, PredictionType
from erasure.families.sd1 import SD1
from erasure.families.sd2 import SD2
from erasure.host.kept_on import lora_problem
from erasure.lora.combine import merge_loras
from erasure.lora.explain import explain_lora
from erasure.lora.file import read_lora
from erasure.lora.fit import match_lora
from erasure.lora.model_adapter import inject_lora_file, model_shapes, remove_model_lora
from erasure.model.build_parts import build_text_encoder, unet_from_ldm
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint
from erasure.model.loading import load_parts
from erasure.model.model import Model, open_model
from erasure.model.tokenizer import load_tokenizer
from erasure.share.about import read_about
from erasure.share.bases import known_base
from erasure.share.civitai import civitai_values
from erasure.share.model_card import model_card
from erasure.share.order import share_order
from erasure.share.pictures import SharedPictures
from erasure.verdict.measurement import measure_task
from tests import tiny, tiny_sd2
from tests.loras import random_lora
from tests.open_clip import OpenClipText

PROMPTS = ["a photo of a church", "a dog!", ""]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint that predicts noise, beside it its yaml; only to be read."""
    return tiny_sd2.checkpoint(tmp_path_factory.mktemp("sd2"), "eps")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a diffusers folder that predicts v; only to be read."""
    return tiny_sd2.diffusers_folder(tmp_path_factory.mktemp("sd2") / "model", "v_prediction")


@pytest.fixture(scope="module")
def opened(built: Path) -> Model:
    """The file, loaded; only to be read."""
    return open_model(inspect_checkpoint(built))


@pytest.fixture(scope="module")
def opened_folder(folder: Path) -> Model:
    """The folder, loaded; only to be read."""
    return open_model(inspect_checkpoint(folder))


def latents(model: Model) -> torch.Tensor:
    noise = torch.stack([model.noise(torch.Generator().manual_seed(seed)) for seed in (1, 2)])
    with torch.no_grad():
        return model.sample(model.embed(PROMPTS[:2]), noise, steps=3, guidance=3.0)


# --- told


def test_a_file_and_a_folder_are_told(built: Path, folder: Path) -> None:
    for path in (built, folder):
        info = inspect_checkpoint(path)
        assert info.family is SD2
        assert (info.size.pixels, info.notes) == (64, ())


def beside(built: Path, folder: Path, prediction: str | None, more: dict[str, torch.Tensor], said: str = "") -> Path:
    metadata = {"modelspec.prediction_type": said} if said else {}
    return tiny_sd2.checkpoint(folder, prediction, weights={**load_file(built), **more}, metadata=metadata)


@pytest.mark.parametrize(
    ("prediction", "key", "said", "wanted"),
    [
        ("v", "", "", "v_prediction"),
        ("eps", "", "", "epsilon"),
        (None, "", "", "epsilon"),  # a yaml that says nothing, as the published one of 512 pixels
        (None, "v_pred", "", "v_prediction"),
        (None, "", "v", "v_prediction"),
        (None, "", "v_prediction", "v_prediction"),
        (None, "", "epsilon", "epsilon"),
        (None, "ztsnr", "", "v_prediction"),
        ("eps", "v_pred", "v", "epsilon"),  # the yaml decides, as in web UIs
    ],
)
def test_what_it_predicts_is_told_by_the_yaml_or_the_file(
    built: Path, tmp_path: Path, prediction: str | None, key: str, said: str, wanted: str
) -> None:
    path = beside(built, tmp_path, prediction, {key: torch.zeros(1)} if key else {}, said)
    info = inspect_checkpoint(path)
    assert (info.prediction_type, info.zero_snr) == (wanted, key == "ztsnr")


def test_sd1_may_predict_the_velocity(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint.parent, tmp_path / "v")
    path = tmp_path / "v" / tiny_checkpoint.name
    document = yaml.safe_load(path.with_suffix(".yaml").read_text(encoding="utf-8"))
    document["model"]["params"]["parameterization"] = "v"
    path.with_suffix(".yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    model, plain = open_model(inspect_checkpoint(path)), open_model(inspect_checkpoint(tiny_checkpoint))
    assert model.parts.prediction_type == "v_prediction"
    z, t = model.noise(torch.Generator().manual_seed(1))[None], torch.tensor([500])
    with torch.no_grad():
        v, eps = plain.eps(z, t, plain.embed(["a church"])), model.eps(z, t, model.embed(["a church"]))
    a = model.alphas_cumprod[t]
    torch.testing.assert_close(eps, a.sqrt() * v + (1 - a).sqrt() * z)


def test_noise_cannot_be_predicted_where_only_noise_is(built: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedCheckpoint, match="zero SNR"):
        inspect_checkpoint(beside(built, tmp_path, "eps", {"ztsnr": torch.zeros(1)}))
    with pytest.raises(UnsupportedCheckpoint, match="zero SNR"):
        inspect_checkpoint(tiny_sd2.diffusers_folder(tmp_path / "folder", "epsilon", zero_snr=True))


def without_yaml(built: Path, folder: Path, weights: dict[str, torch.Tensor]) -> tuple[Path, Family]:
    """Write the checkpoint without a yaml beside it, and return it with a family whose own yaml is that of the tiny
    model."""
    save_file(weights, folder / "alone.safetensors")
    document = tiny_sd2.ldm_config(None, str(built.with_name("sd2-text")))
    (folder / "family.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    full = dataclasses.replace(SD2.full, pixels=64)
    texts = (dataclasses.replace(SD2.text_encoders[0], models=()),)
    return folder / "alone.safetensors", dataclasses.replace(
        SD2, yaml=folder / "family.yaml", full=full, v_pixels=96, text_encoders=texts
    )


@torch.no_grad()
def eps_weights(built: Path, opened: Model) -> dict[str, torch.Tensor]:
    """The tiny model with a last layer that finds the noise: fitted by least squares."""
    unet, _, _ = tiny_sd2.build()
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(64, 4, 8, 8, generator=generator)
    states = opened.embed([""]).states.expand(64, -1, -1)
    read: list[torch.Tensor] = []
    hook = unet.conv_out.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    unet(z, 999, encoder_hidden_states=states)
    hook.remove()
    columns = torch.nn.functional.unfold(read[0], 3, padding=1).permute(0, 2, 1).flatten(0, 1)
    found = torch.linalg.lstsq(columns, z.permute(0, 2, 3, 1).reshape(-1, 4)).solution
    out = SD2.parts.unet + "out.2."
    fitted = found.T.reshape(4, -1, 3, 3).contiguous()
    return {**load_file(built), out + "weight": fitted, out + "bias": torch.zeros(4)}


@pytest.mark.parametrize(("kind", "pixels"), [("epsilon", 64), ("v_prediction", 96)])
def test_what_nothing_tells_is_measured(
    kind: PredictionType, pixels: int, built: Path, opened: Model, tmp_path: Path
) -> None:
    weights = eps_weights(built, opened) if kind == "epsilon" else load_file(built)
    path, family = without_yaml(built, tmp_path, weights)
    info = inspect_checkpoint(path, (SD1, family))
    assert info.prediction_type is None
    assert info.size.pixels == 96  # the larger, for forecasts of memory
    parts = load_parts(info)
    assert parts.prediction_type == kind
    assert parts.latents_of() == (4, pixels // 8, pixels // 8)
    assert parts.info.size.pixels == pixels
    assert any("measured, it is the" in note for note in parts.notes)


def test_the_published_yaml_of_the_larger_model_names_the_smaller_size(built: Path, tmp_path: Path) -> None:
    """Both of Stability AI's yaml files say ``image_size: 64``."""
    for prediction, pixels in (("v", 768), ("eps", 512)):
        path = beside(built, tmp_path / prediction, prediction, {})
        document = yaml.safe_load(path.with_suffix(".yaml").read_text(encoding="utf-8"))
        document["model"]["params"]["image_size"] = 64
        path.with_suffix(".yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        assert inspect_checkpoint(path).size.pixels == pixels


@pytest.mark.parametrize(("channels", "what"), [(9, "an inpainting model"), (5, "a depth-to-image model")])
def test_its_other_models_are_refused_by_name(channels: int, what: str, built: Path, tmp_path: Path) -> None:
    first = SD2.parts.unet + "input_blocks.0.0.weight"
    with pytest.raises(UnsupportedCheckpoint, match=what):
        inspect_checkpoint(beside(built, tmp_path, None, {first: torch.zeros(32, channels, 3, 3)}))


# --- read


@torch.no_grad()
def test_the_text_states_are_those_of_both_layouts_and_of_open_clip(
    built: Path, opened: Model, opened_folder: Model
) -> None:
    one, other = opened, opened_folder
    assert one.parts.text_encoder.config.num_hidden_layers == tiny_sd2.LAYERS - 1
    states = one.embed(PROMPTS).states
    assert torch.equal(states, other.embed(PROMPTS).states)
    original = OpenClipText(width=tiny_sd2.WIDTH, layers=tiny_sd2.LAYERS, heads=4, projection=tiny_sd2.WIDTH)
    prefix = SD2.text_encoders[0].prefix
    read = {name.removeprefix(prefix): t for name, t in load_file(built).items() if name.startswith(prefix)}
    for block in original.transformer.blocks:  # the tiny one is narrower there than OpenCLIP's four times
        block.mlp.c_fc, block.mlp.c_proj = torch.nn.Linear(32, 64), torch.nn.Linear(64, 32)
    original.load_state_dict(read)
    ids = torch.tensor([one.tokenizer(text, padding="max_length").input_ids for text in PROMPTS])
    torch.testing.assert_close(states, original.eval().states(ids, skip=1))


def test_prompts_are_padded_as_web_uis_do(opened: Model, opened_folder: Model) -> None:
    own = SD2.text_encoders[0]
    shipped = load_tokenizer(own.tokenizer_folder, opened.parts.text_encoder, SD2, own.padding)
    for tokenizer in (opened.tokenizer, opened_folder.tokenizer, shipped):
        ids = tokenizer(["a cat!", "a " * 100], padding="max_length", truncation=True).input_ids
        assert ids[0] == [49406, 320, 2368, 256, 49407] + [0] * 72  # "!" is a word where a prompt has it
        assert ids[1] == [49406] + [320] * 75 + [49407]


def test_pooled_states_are_those_of_the_end(opened: Model) -> None:
    torch.testing.assert_close(opened.pooled(["a church"])[0], opened.embed(["a church"]).states[0, 3])


def test_both_layouts_give_the_same_unet(opened: Model, opened_folder: Model) -> None:
    one, other = opened, opened_folder
    for name, tensor in one.unet.state_dict().items():
        assert torch.equal(tensor, other.unet.state_dict()[name])
    assert one.unet.config.use_linear_projection
    assert list(one.unet.config.attention_head_dim) == list(tiny_sd2.HEADS)


def test_full_size_weights_fit_the_shipped_configuration() -> None:
    """Names, shapes and numbers of weights of SD 2, without memory behind them."""
    sizes = {**tiny.full_size_config["unet"], "context": 1024, "heads": [5, 10, 20, 20]}
    with torch.device("meta"):
        unet = tiny.build_unet(sizes, use_linear_projection=True)
    document = yaml.safe_load(SD2.yaml.read_text(encoding="utf-8"))
    original = {SD2.parts.unet + unet_key(name): tensor for name, tensor in unet.state_dict().items()}
    read = unet_from_ldm(document, original, 64, "full", [])
    assert list(read.config.attention_head_dim) == [5, 10, 20, 20]
    assert sum(weight.numel() for weight in unet.parameters()) == SD2.full.unet
    own = SD2.text_encoders[0]
    config = json.loads(own.config.read_text(encoding="utf-8"))
    text = build_text_encoder({**config, "num_hidden_layers": config["num_hidden_layers"] - own.skipped}, "full")
    assert sum(weight.numel() for weight in text.parameters()) == SD2.full.text_encoder
    assert (text.config.hidden_size, text.config.num_attention_heads, text.config.hidden_act) == (1024, 16, "gelu")


# --- handed on


def made_with(model: Model, path: Path, **metadata: str) -> Path:
    return random_lora(path, {"erase": ["church"]}, metadata, strength=0.1, unet=model.unet, family=SD2)


@pytest.mark.slow
def test_a_training_ends_with_a_file_that_says_what_it_is_for(
    folder: Path, tmp_path: Path, quick_pictures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("truck\nbus\nhouse\ntower\nbell\ndog\n", encoding="utf-8")
    out = tmp_path / "gone.safetensors"
    quick = "--steps 3 --learning-rate 0.02 --clip 0 --sampling-steps 3 --synonym-threshold 0 --layers full"
    judged = "--device cpu --judged-words 0 --look-every 0 --vocabulary file"
    flags = [*quick.split(), *judged.split(), "--vocabulary-file", str(words), "--run", str(tmp_path / "run")]
    assert main(["train", "--checkpoint", str(folder), "--erase", "church", *flags, "--out", str(out)]) == 0
    file = read_lora(out)
    assert file.family is SD2
    wanted = {
        "ss_base_model_version": "sd_v2_v",
        "ss_v2": "True",
        "ss_v_parameterization": "True",
        "modelspec.architecture": "stable-diffusion-v2-768-v/lora",
        "modelspec.prediction_type": "v_prediction",
        "modelspec.resolution": "64x64",
    }
    assert {key: file.metadata[key] for key in wanted} == wanted
    proj = "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"
    assert file.state[proj].ndim == 2  # a matrix in SD 2, a convolution in SD 1.x
    capsys.readouterr()
    assert main(["inspect", str(out), "--checkpoint", str(folder), "--hash-only"]) == 0
    shown = capsys.readouterr().out
    assert "a LoRA for Stable Diffusion 2 in kohya's layout" in shown
    assert "it was made from model" in shown


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("4.34"),
    reason="this transformers is too old for diffusers' load_lora_weights",
)
def test_diffusers_loads_the_same_model(folder: Path, tmp_path: Path) -> None:
    model = open_model(inspect_checkpoint(folder))
    base = latents(model)
    layers = ("attn1.to_q", "attn2.to_k", "proj_in", "proj_out", "net.2")
    path = random_lora(tmp_path / "all.safetensors", strength=0.1, unet=model.unet, family=SD2, layers=layers)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", set_alpha_to_one=False)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, scheduler=scheduler, safety_checker=None)
    pipeline.load_lora_weights(tmp_path, weight_name=path.name)
    inject_lora_file(model.parts.modules, read_lora(path), 1.0)
    z, states = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), model.embed(PROMPTS[:1]).states
    with torch.no_grad():
        ours, theirs = (each(z, 500, encoder_hidden_states=states).sample for each in (model.unet, pipeline.unet))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4 * float(ours.abs().max()))
    assert float((latents(model) - base).norm() / base.norm()) > 0.01


def test_a_baked_file_draws_what_the_base_with_the_lora_draws(built: Path, tmp_path: Path) -> None:
    base = tmp_path / "base" / built.name
    shutil.copytree(built.parent, base.parent)
    model = open_model(inspect_checkpoint(base))
    plain, lora = latents(model), made_with(model, tmp_path / "church.safetensors")
    inject_lora_file(model.parts.modules, read_lora(lora), 1.0)
    out = tmp_path / "out.safetensors"
    writing = bake(bake_task(base, [(lora, 1.0)], out))
    assert list(writing)
    drawn, wanted = latents(open_model(inspect_checkpoint(out))), latents(model)
    assert float((wanted - plain).norm() / plain.norm()) > 0.01
    torch.testing.assert_close(drawn, wanted, rtol=0, atol=1e-3 * float(wanted.abs().max()))
    before, after = load_file(base), load_file(out)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert len(changed) == 32
    assert all(name.startswith(SD2.parts.unet) for name in changed)


def test_a_label_says_what_is_known_of_the_prediction(built: Path, opened: Model, tmp_path: Path) -> None:
    lora = made_with(opened, tmp_path / "church.safetensors")
    for prediction, architecture in (("v", "stable-diffusion-v2-768-v"), ("eps", "stable-diffusion-v2-512")):
        base = beside(built, tmp_path / prediction, prediction, {})
        out = tmp_path / f"{prediction}.safetensors"
        list(bake(bake_task(base, [(lora, 1.0)], out)))
        info = inspect_checkpoint(out)
        said = _metadata(info)
        assert said["modelspec.architecture"] == architecture
        assert said["modelspec.prediction_type"] == info.prediction_type


def _metadata(info: CheckpointInfo) -> dict[str, str]:
    with safe_open(str(info.path), framework="pt") as file:
        found: dict[str, str] = file.metadata()
    return found


def test_files_of_two_families_are_not_mixed(
    built: Path, opened: Model, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = random_lora(tmp_path / "one.safetensors", {"erase": ["church"]}, {"ss_base_model_version": "sd_v1"})
    second = made_with(opened, tmp_path / "two.safetensors", ss_base_model_version="sd_v2", ss_v2="True")
    why = r"one\.safetensors is a LoRA for Stable Diffusion 1\.x, but the checkpoint is an SD 2\.x model"
    with pytest.raises(LoraFileError, match=why):
        bake_task(built, [(first, 1.0)], tmp_path / "out.safetensors")
    with pytest.raises(LoraFileError, match=why):
        measure_task(built, first, {})
    with pytest.raises(LoraFileError, match=r"two\.safetensors is a LoRA for Stable Diffusion 2, but .* SD 1\.x model"):
        measure_task(tiny_checkpoint, second, {})
    assert lora_problem(second, built) == lora_problem(first, tiny_checkpoint) == ""
    assert "made for Stable Diffusion 1.x, and sd2.safetensors is another kind of model" in lora_problem(first, built)
    assert main(["combine", str(first), str(second), "--out", str(tmp_path / "both.safetensors")]) == 1
    assert "is for Stable Diffusion 1.x, two.safetensors for Stable Diffusion 2" in capsys.readouterr().err


def test_two_files_are_combined_into_one_of_the_same_kind(opened: Model, tmp_path: Path) -> None:
    told = {"ss_base_model_version": "sd_v2_v", "ss_v2": "True", "modelspec.prediction_type": "v_prediction"}
    files = [made_with(opened, tmp_path / f"{name}.safetensors", **told, said=name) for name in ("a", "b")]
    out = tmp_path / "both.safetensors"
    assert main(["combine", *map(str, files), "--out", str(out)]) == 0
    made = read_lora(out)
    assert made.family is SD2
    assert made.metadata["ss_base_model_version"] == "sd_v2_v"
    assert made.metadata["modelspec.architecture"] == "stable-diffusion-v2-768-v/lora"


def test_what_is_shared_names_the_base(opened: Model, tmp_path: Path) -> None:
    known = "88ecb782561455673c4b78d05093494b9c539fc6bfc08f3a9a4a0dd7b0b10f36"  # v2-1_512-ema-pruned.ckpt
    for sha256, version in ((known, "SD 2.1"), ("ab" * 32, "SD 2.x")):
        told = {"ss_base_model_version": "sd_v2", "ss_v2": "True", "ss_new_sd_model_hash": sha256}
        lora = made_with(opened, tmp_path / f"{version.replace('.', '-')}.safetensors", **told)
        about = read_about(lora)
        assert about.family is SD2
        values = civitai_values(about, share_order(lora, "openrail++"), sha256=sha256, size=1)
        assert values["baseModel"] == version
        assert "from Stable Diffusion 2" in values["description"]
        card = model_card(about, share_order(lora, "openrail++"), SharedPictures(None, ()), sha256)
        assert "gen_img.py --v2 --ckpt" in card
        told_of_v = {**about.metadata, "modelspec.prediction_type": "v"}  # as kohya's scripts write it
        card = model_card(
            dataclasses.replace(about, metadata=told_of_v),
            share_order(lora, "openrail++"),
            SharedPictures(None, ()),
            sha256,
        )
        assert "gen_img.py --v2 --v_parameterization --ckpt" in card
    base = known_base(known)
    assert base is not None
    assert base.hub == "stabilityai/stable-diffusion-2-1-base"
    assert "a LoRA for Stable Diffusion 2" in str(explain_lora(lora))


def test_projections_that_were_trained_as_convolutions_are_read(built: Path, tmp_path: Path) -> None:
    """As kohya's scripts train them for models in one file: a 1x1 convolution where the model has a linear layer."""
    model = open_model(inspect_checkpoint(built))
    plain = latents(model)
    layers = ("attn2.to_k", "proj_in", "proj_out")
    linear = random_lora(tmp_path / "linear.safetensors", strength=0.1, unet=model.unet, family=SD2, layers=layers)
    tensors, other = load_file(linear), tmp_path / "convolutions.safetensors"
    turned = {
        key: tensor[..., None, None] if "_proj_" in key and tensor.dim() == 2 else tensor
        for key, tensor in tensors.items()
    }
    assert sum(tensor.dim() == 4 for tensor in turned.values()) > 0
    with safe_open(linear, "pt") as opened_file:
        save_file(turned, other, opened_file.metadata())
    drawn = []
    for file in (read_lora(linear), read_lora(other), merge_loras([(read_lora(linear), 0.5), (read_lora(other), 0.5)])):
        match_lora(file, model_shapes(model.parts.modules))
        inject_lora_file(model.parts.modules, file, 1.0)
        drawn.append(latents(model))
        remove_model_lora(model.parts.modules)
    assert float((drawn[0] - plain).norm() / plain.norm()) > 0.01
    assert torch.equal(drawn[1], drawn[0])
    torch.testing.assert_close(drawn[2], drawn[0], rtol=0, atol=1e-4 * float(drawn[0].abs().max()))
