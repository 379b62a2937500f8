"""The LoRA file: what is in it, that others read the same model from it, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import struct
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import transformers
from diffusers import DDIMScheduler, StableDiffusionPipeline
from packaging.version import Version
from PIL import Image
from safetensors.torch import load_file, save_file

from erasure.config.settings import LayerChoice, Start
from erasure.config.values import config_from_dict, erase_config
from erasure.errors import IneffectiveLora, LoraFileError, OutputExists
from erasure.families.sd1 import SD1
from erasure.lora import file as lora_file
from erasure.lora.adapter import inject_lora, lora_state, lora_weight, remove_lora
from erasure.lora.explain import explain_lora
from erasure.lora.file import module_key, read_lora, write_lora
from erasure.lora.fit import match_lora, module_paths
from erasure.lora.hashes import content_hash
from erasure.lora.layer_choice import base_layers, layer_shapes
from erasure.lora.metadata import lora_metadata
from erasure.lora.model_adapter import inject_lora_file, model_shapes
from erasure.model.parts import ModelParts
from tests import tiny
from tests.test_lora import predict, randomise

CHOICES = get_args(LayerChoice)
ALPHA, RANK = 3.0, 2
CONV_IN = "lora_unet_conv_in"
PICTURES = ("ssmd_cover_images", "modelspec.thumbnail")
Tensors = dict[str, torch.Tensor]


def metadata_of(name: str = "erased", **changes: object) -> dict[str, str]:
    config = erase_config(erase=("church", "truck"), rank=RANK, alpha=ALPHA).to_dict()
    arguments = {
        "name": name,
        "family": SD1,
        "config": config,
        "base_name": "emoji-sd.safetensors",
        "base_sha256": "ab" * 32,
        "base_short_hash": "12345678",
        "cover": Image.new("RGB", (900, 600), "teal"),
        "steps": 150,
        "finished": datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc),
        **changes,
    }
    return lora_metadata(**arguments)  # type: ignore[arg-type]


def trained(models: ModelParts, path: Path, layers: LayerChoice = "full", dtype: torch.dtype = torch.float32) -> Path:
    """A file of random LoRA weights, which are on the models' U-Net as well."""
    inject_lora(models.unet, layers, RANK, ALPHA, seed=0)
    write_lora(path, randomise(models.unet), family=SD1, alpha=ALPHA, metadata=metadata_of(path.stem), dtype=dtype)
    return path


@pytest.fixture(scope="module")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tiny.build_tiny_models(), tmp_path_factory.mktemp("lora") / "erased.safetensors")


@pytest.fixture
def written(_written: Path, tmp_path: Path) -> Path:
    """A file with all layers, a fresh copy for every test, so that a test may change it."""
    return Path(shutil.copy(_written, tmp_path))


def changed(path: Path, change: Callable[[Tensors], object], **metadata: str) -> Path:
    """A copy of a LoRA file with other tensors or metadata."""
    tensors = load_file(path)
    change(tensors)
    out = path.with_name("changed.safetensors")
    save_file(tensors, out, {**header(path)["__metadata__"], **metadata})
    return out


def header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    found: dict[str, Any] = json.loads(data[8 : 8 + length])
    return found


def test_the_file_says_which_weights_of_a_base_with_both_it_was_trained_on(written: Path) -> None:
    assert "weights" not in explain_lora(written).base
    for kind, shown in (("plain", "the plain ones"), ("averaged", "the averaged ones")):
        made = changed(written, lambda _: None, **metadata_of(base_weights=kind))
        assert f"base weights: {shown}" in str(explain_lora(made))


# --- the same model for every reader


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("4.34"),
    reason="this transformers is too old for diffusers' load_lora_weights",
)
@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1e-4), (torch.float16, 1e-1)])
@pytest.mark.parametrize("layers", CHOICES)
def test_diffusers_loads_the_same_model(
    tiny_models: ModelParts, tmp_path: Path, layers: LayerChoice, dtype: torch.dtype, share: float
) -> None:
    base = predict(tiny_models.unet)
    path = trained(tiny_models, tmp_path / "erased.safetensors", layers, dtype)
    ours = predict(tiny_models.unet)
    fresh = tiny.build_tiny_models()
    pipeline = StableDiffusionPipeline(
        vae=fresh.vae,
        text_encoder=fresh.text_encoder,
        tokenizer=fresh.tokenizer,
        unet=fresh.unet,
        scheduler=DDIMScheduler(**tiny.SCHEDULE, clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.load_lora_weights(tmp_path, weight_name=path.name)
    theirs = predict(pipeline.unet)
    change = float((ours - base).abs().max())
    assert change > 0.01
    # Rounding to fp16 is loud in a random U-Net of one channel per norm group; reading the file is exact.
    torch.testing.assert_close(theirs, ours, rtol=0, atol=share * change)
    remove_lora(tiny_models.unet)
    inject_lora_file(tiny_models.modules, read_lora(path), 1.0)
    torch.testing.assert_close(theirs, predict(tiny_models.unet), rtol=0, atol=1e-4 * change)


@pytest.mark.parametrize("layers", CHOICES)
def test_file_read_back_is_the_trained_model(tiny_models: ModelParts, tmp_path: Path, layers: LayerChoice) -> None:
    unet = tiny_models.unet
    base = predict(unet)
    path = trained(tiny_models, tmp_path / "erased.safetensors", layers)
    ours = predict(unet)
    remove_lora(unet)
    file = read_lora(path)
    match_lora(file, layer_shapes(unet))
    inject_lora_file({"": unet}, file, 1.0)
    assert torch.equal(predict(unet), ours)
    remove_lora(unet)
    inject_lora_file({"": unet}, file, 0.0)
    assert torch.equal(predict(unet), base)
    with lora_weight(unet, 1.0):
        assert torch.equal(predict(unet), ours)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_tensors_are_kohyas_in_the_asked_precision(tiny_models: ModelParts, tmp_path: Path, dtype: torch.dtype) -> None:
    path = trained(tiny_models, tmp_path / "erased.safetensors", dtype=dtype)
    tensors = load_file(path)
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    assert {key.partition(".")[2] for key in tensors} == {"lora_down.weight", "lora_up.weight", "alpha"}
    assert {float(tensor) for key, tensor in tensors.items() if key.endswith("alpha")} == {ALPHA}
    assert tuple(tensors[f"{CONV_IN}.lora_down.weight"].shape) == (RANK, 4, 3, 3)
    assert tuple(tensors[f"{CONV_IN}.lora_up.weight"].shape) == (32, RANK, 1, 1)
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_out_0.alpha" in tensors
    assert read_lora(path).dtype == dtype


def test_alpha_is_not_rounded_by_the_files_precision(tiny_models: ModelParts, tmp_path: Path) -> None:
    inject_lora(tiny_models.unet, "xattn", 2, 0.1, seed=0)
    path = tmp_path / "erased.safetensors"
    write_lora(path, randomise(tiny_models.unet), family=SD1, alpha=0.1, metadata={}, dtype=torch.bfloat16)
    assert set(read_lora(path).alphas.values()) == {float(torch.tensor(0.1))}


def test_missing_alpha_means_scale_one(tiny_models: ModelParts, written: Path) -> None:
    path = changed(written, lambda tensors: tensors.pop(f"{CONV_IN}.alpha"))
    file = read_lora(path)
    assert file.weights(CONV_IN)[2] == 1.0
    assert file.weights("lora_unet_conv_out")[2] == ALPHA / RANK
    inject_lora_file(tiny_models.modules, file, 1.0)
    assert tiny_models.unet.conv_in.scaling["erase"] == 1.0


def test_every_module_key_of_stable_diffusion_1_leads_back_to_its_path() -> None:
    with torch.device("meta"):
        unet = tiny.build_unet(tiny.full_size_config["unet"])
    paths = module_paths(base_layers(unet), SD1)
    assert len(paths) == 282
    assert all(module_key(path, SD1) == key for key, path in paths.items())


# --- metadata


def test_hashes_are_as_web_uis_compute_them(tiny_models: ModelParts, tmp_path: Path) -> None:
    path = tmp_path / "erased.safetensors"
    inject_lora(tiny_models.unet, "full", 16, 16.0, seed=0)  # over 1 MiB, where the legacy hash looks
    write_lora(path, randomise(tiny_models.unet), family=SD1, alpha=16.0, metadata=metadata_of(), dtype=torch.float32)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    metadata = header(path)["__metadata__"]
    model_hash = hashlib.sha256(data[8 + length :]).hexdigest()
    assert metadata["sshs_model_hash"] == model_hash
    assert metadata["modelspec.hash_sha256"] == "0x" + model_hash
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(path), bare, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    window = bare.read_bytes()[0x100000:0x110000]
    assert len(window) == 0x10000
    assert metadata["sshs_legacy_hash"] == hashlib.sha256(window).hexdigest()[:8]


def test_metadata_says_what_web_uis_look_for(written: Path) -> None:
    metadata = read_lora(written).metadata
    wanted = {
        "ss_output_name": "erased",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(RANK),
        "ss_network_alpha": str(ALPHA),
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "ss_sd_model_name": "emoji-sd.safetensors",
        "ss_sd_model_hash": "12345678",
        "ss_new_sd_model_hash": "ab" * 32,
        "ss_steps": "150",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "diffusers",
        "modelspec.usage_hint": "<lora:erased:1>",
        "modelspec.trigger_phrase": "",
        "modelspec.tags": "lora, stable-diffusion, concept-erasure",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "erased",
        "modelspec.date": "2024-05-06T07:08:09+00:00",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "512x512",
    }
    assert {key: metadata.get(key) for key in wanted} == wanted
    assert metadata["modelspec.hash_sha256"] == "0x" + content_hash(written)
    assert "church, truck" in metadata["modelspec.description"]
    assert not metadata.keys() & {"modelspec.author", "modelspec.license", "modelspec.merged_from"}
    assert float(metadata["ss_training_finished_at"]) == 1714979289.0


def test_whole_config_comes_back_from_the_file(written: Path) -> None:
    config = config_from_dict(json.loads(read_lora(written).metadata["adversarial_erase"]))
    assert config == erase_config(erase=("church", "truck"), rank=RANK, alpha=ALPHA)


def test_cover_is_a_small_picture(written: Path) -> None:
    (cover,) = json.loads(read_lora(written).metadata["ssmd_cover_images"])
    picture = Image.open(io.BytesIO(base64.b64decode(cover, validate=True)))
    assert picture.size == (512, 341)
    assert not picture.getexif()
    head, _, data = read_lora(written).metadata["modelspec.thumbnail"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data, validate=True))).size == (256, 171)


@pytest.mark.parametrize(("start", "told"), [("text-encoder", None), ("zero", "None")])
def test_no_rate_of_text_encoders_is_told_where_they_were_trained_at_one_that_was_found(
    start: Start, told: str | None
) -> None:
    config = erase_config(erase=("church",), start=start).to_dict()
    assert metadata_of(config=config).get("ss_text_encoder_lr") == told


def test_unknown_base_hashes_and_cover_are_left_out() -> None:
    metadata = metadata_of(base_sha256=None, base_short_hash=None, cover=None)
    assert not metadata.keys() & {"ss_new_sd_model_hash", "ss_sd_model_hash", *PICTURES}


@pytest.mark.parametrize("folder", ["/home/someone/models/", r"C:\Users\someone\models" + "\\", "~/someone/"])
def test_no_path_of_the_user_is_in_the_file(tiny_models: ModelParts, tmp_path: Path, folder: str) -> None:
    config = erase_config(erase=("church",), vocabulary="file", vocabulary_file=folder + "words.txt").to_dict()
    cover = Image.new("RGB", (8, 8))
    cover.info["comment"] = folder.encode()
    metadata = metadata_of(folder + "erased", config=config, base_name=folder + "base.safetensors", cover=cover)
    inject_lora(tiny_models.unet, "xattn_kv", RANK, ALPHA, seed=0)
    path = tmp_path / "erased.safetensors"
    write_lora(path, randomise(tiny_models.unet), family=SD1, alpha=ALPHA, metadata=metadata)
    content = path.read_bytes()
    assert b"someone" not in content
    assert str(tmp_path).encode() not in content
    assert b"words.txt" in content
    assert b"base.safetensors" in content
    texts = [value for key, value in metadata.items() if key not in PICTURES]
    # a picture in base64 may hold any letters; every text may not look like an absolute path
    assert not [text for text in texts if re.search(r"(^|[\s\"'=(])(/|~/|[A-Za-z]:[\\/])\w", text)]


# --- writing


def test_existing_file_is_not_overwritten_unless_asked(tiny_models: ModelParts, tmp_path: Path) -> None:
    path = trained(tiny_models, tmp_path / "erased.safetensors")
    old = path.read_bytes()
    state = lora_state(tiny_models.unet)
    with pytest.raises(OutputExists, match="exists"):
        write_lora(path, state, family=SD1, alpha=1.0, metadata={})
    assert path.read_bytes() == old
    write_lora(path, state, family=SD1, alpha=1.0, metadata={}, overwrite=True)
    assert path.read_bytes() != old


def test_file_has_the_mode_of_any_new_file(written: Path) -> None:
    fresh = trained(tiny.build_tiny_models(), written.with_name("fresh.safetensors"), "xattn_kv")
    plain = written.with_name("plain")
    plain.touch()
    assert fresh.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_failure_in_mid_write_leaves_the_old_file(
    written: Path, tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    old = written.read_bytes()
    inject_lora(tiny_models.unet, "xattn", 1, 1.0, seed=0)

    def half(tensors: Tensors, name: str, metadata: dict[str, str]) -> None:
        Path(name).write_bytes(old[:1000])
        raise error

    monkeypatch.setattr(lora_file, "save_file", half)
    with pytest.raises((LoraFileError, KeyboardInterrupt)):
        write_lora(written, randomise(tiny_models.unet), family=SD1, alpha=1.0, metadata={}, overwrite=True)
    assert written.read_bytes() == old
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_values_that_the_precision_cannot_hold_are_not_written(tiny_models: ModelParts, tmp_path: Path) -> None:
    inject_lora(tiny_models.unet, "xattn", 1, 1.0, seed=0)
    state = randomise(tiny_models.unet)
    next(iter(state.values())).fill_(1e6)
    with pytest.raises(LoraFileError, match="not finite in float16"):
        write_lora(tmp_path / "a.safetensors", state, family=SD1, alpha=1.0, metadata={})
    assert not list(tmp_path.iterdir())


# --- what is refused


@pytest.mark.parametrize("left", [0, 5, 500, -1, -1000])
def test_truncated_file_is_refused_by_name(written: Path, left: int) -> None:
    written.write_bytes(written.read_bytes()[:left])
    with pytest.raises(LoraFileError, match=r"erased\.safetensors is truncated"):
        read_lora(written)


def test_missing_and_foreign_files_are_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(LoraFileError, match=r"cannot be read|there is no file"):
        read_lora(tmp_path / ("x" * 300 + ".safetensors"))
    with pytest.raises(LoraFileError, match="there is no file"):
        read_lora(tmp_path / "none.safetensors")
    packed = tmp_path / "packed.safetensors"
    shapes = {"lora_unet_conv_in.lora_down.weight": (4, 4, 3, 3), "lora_unet_conv_in.lora_up.weight": (32, 4, 1, 1)}
    save_file({name: torch.ones(shape, dtype=torch.int8) for name, shape in shapes.items()}, packed)
    with pytest.raises(LoraFileError, match=r"packed \(quantised\) weights \(int8"):
        read_lora(packed)
    page = tmp_path / "page.safetensors"
    page.write_text("<!doctype html><title>Log in</title>" * 50, encoding="utf-8")
    with pytest.raises(LoraFileError, match="not a safetensors file"):
        read_lora(page)
    with pytest.raises(LoraFileError, match="is a full checkpoint, no LoRA"):
        read_lora(tiny_checkpoint)


KINDS: dict[str, dict[str, Any]] = {
    "Stable Diffusion XL refiner": {
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (2, 1280)
    },
    "Flux": {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (2, 8)},
    "LoHa": {"lora_unet_conv_in.hada_w1_a": (2, 2)},
    "LoKr": {"lora_unet_conv_in.lokr_w1": (2, 2)},
    "OFT": {"lora_unet_conv_in.oft_blocks": (2, 2)},
    "LoCon": {"lora_unet_conv_in.lora_mid.weight": (2, 2, 3, 3)},
    "full differences": {"lora_unet_conv_in.diff": (2, 2)},
    "DoRA": {"lora_unet_conv_in.lora_down.weight": (2, 4, 3, 3), "lora_unet_conv_in.dora_scale": (2,)},
    "an unknown layout": {"lora_prior_conv_in.lora_down.weight": (2, 8), "lora_prior_conv_in.lora_up.weight": (8, 2)},
    "diffusers' own layout": {"unet.conv_in.lora_A.weight": (2, 2)},
    "a VAE": {"decoder.conv_in.weight": (2, 2)},
    "no LoRA": {"emb": (2, 2)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({name: torch.ones(shape) for name, shape in KINDS[kind].items()}, path)
    with pytest.raises(LoraFileError, match=re.escape(kind)):
        read_lora(path)


def test_other_generations_are_told_by_metadata(written: Path) -> None:
    other = changed(written, lambda tensors: None, ss_base_model_version="sdxl_base_v1-0")
    assert read_lora(other).family.name == "Stable Diffusion XL"
    with pytest.raises(LoraFileError, match="a LoRA for Stable Diffusion XL"):
        read_lora(other, (SD1,))


PARTS: dict[str, Callable[[Tensors], object]] = {
    f"{CONV_IN}.lora_up.weight is missing": lambda t: t.pop(f"{CONV_IN}.lora_up.weight"),
    f"{CONV_IN}.lora_down.weight is missing": lambda t: t.pop(f"{CONV_IN}.lora_down.weight"),
    "is not a known part of a LoRA": lambda t: t.update({f"{CONV_IN}.bias": torch.ones(1)}),
    "should be one number": lambda t: t.update({f"{CONV_IN}.alpha": torch.ones(2)}),
    "which do not match": lambda t: t.update({f"{CONV_IN}.lora_up.weight": torch.ones(32, RANK + 1, 1, 1)}),
}


@pytest.mark.parametrize("problem", PARTS)
def test_incomplete_file_is_refused_by_name(written: Path, problem: str) -> None:
    with pytest.raises(LoraFileError, match=re.escape(problem)):
        read_lora(changed(written, PARTS[problem]))


def _renamed(tensors: Tensors) -> None:
    for part in ("lora_down.weight", "lora_up.weight", "alpha"):
        tensors[f"lora_unet_nowhere.{part}"] = tensors.pop(f"{CONV_IN}.{part}")


def _zeroed(tensors: Tensors) -> None:
    for key, tensor in tensors.items():
        if key.endswith("lora_up.weight"):
            tensor.zero_()


MISFITS: dict[str, Callable[[Tensors], object]] = {
    r"lora_unet_nowhere.*unmatched key": _renamed,
    r"conv_in: lora_down\.weight has the wrong shape": lambda t: t.update(
        {f"{CONV_IN}.lora_down.weight": torch.ones(RANK, 4, 1, 1)}
    ),
    r"conv_in: not all values are finite": lambda t: t[f"{CONV_IN}.lora_up.weight"].view(-1)[:1].fill_(torch.nan),
    r"conv_in: not all values": lambda t: t.update({f"{CONV_IN}.alpha": torch.tensor(torch.inf)}),
}


@pytest.mark.parametrize("problem", MISFITS)
def test_file_that_does_not_fit_the_model_is_refused_by_name(
    tiny_models: ModelParts, written: Path, problem: str
) -> None:
    file = read_lora(changed(written, MISFITS[problem]))
    with pytest.raises(LoraFileError, match=problem) as caught:
        match_lora(file, model_shapes(tiny_models.modules))
    assert "(1 problems)" in str(caught.value)
    assert not isinstance(caught.value, IneffectiveLora)


def test_all_zero_file_is_ineffective(tiny_models: ModelParts, written: Path) -> None:
    with pytest.raises(IneffectiveLora, match="each of its 181 layers is zero"):
        match_lora(read_lora(changed(written, _zeroed)), model_shapes(tiny_models.modules))


def test_unmatched_key_is_not_injected(tiny_models: ModelParts, written: Path) -> None:
    before = predict(tiny_models.unet)
    with pytest.raises(LoraFileError, match="lora_unet_nowhere"):
        inject_lora_file(tiny_models.modules, read_lora(changed(written, _renamed)), 1.0)
    assert torch.equal(predict(tiny_models.unet), before)


# --- explaining


def test_report_of_our_file(written: Path) -> None:
    report = explain_lora(written)
    assert report.erases == ("church", "truck")
    assert report.hash_check.startswith("ok")
    assert (report.ranks, report.alphas, report.precision) == ((RANK,), (ALPHA,), "float32")
    tensors = load_file(written)
    assert report.layers == len(report.norms) == len({key.partition(".")[0] for key in tensors})
    name, norm = next(iter(report.norms.items()))
    up, down = tensors[f"{name}.lora_up.weight"].flatten(1), tensors[f"{name}.lora_down.weight"].flatten(1)
    assert norm == pytest.approx(float(ALPHA / RANK * (up @ down).norm()), rel=1e-4)
    assert norm == max(report.norms.values())
    text = str(report)
    assert "'church', 'truck'" in text
    assert "emoji-sd.safetensors" in text
    assert "ab" * 32 in text
    assert "learning_rate = " in text


def test_report_of_a_file_made_elsewhere_says_what_is_unknown(written: Path) -> None:
    tensors = {key: value for key, value in load_file(written).items() if "attn2" in key}
    path = written.with_name("elsewhere.safetensors")
    save_file(tensors, path)
    report = explain_lora(path)
    assert (report.erases, report.config) == ((), None)
    assert "base checkpoint: unknown" in str(report)
    assert "cannot be checked" in report.hash_check


def test_report_sees_changed_content_and_bad_values(written: Path) -> None:
    wrong = changed(written, MISFITS[r"conv_in: not all values are finite"])
    report = explain_lora(wrong)
    assert "WRONG" in report.hash_check
    assert report.problems == (f"{CONV_IN} holds values that are not finite",)
    assert explain_lora(changed(written, _zeroed)).problems == ("all weights are zero, so it changes nothing",)


def test_report_names_other_kinds_and_refuses_what_is_no_lora(tmp_path: Path, tiny_checkpoint: Path) -> None:
    path = tmp_path / "loha.safetensors"
    save_file({"lora_unet_conv_in.hada_w1_a": torch.ones(2, 2)}, path)
    assert "LoHa" in str(explain_lora(path))
    with pytest.raises(LoraFileError, match="full checkpoint"):
        explain_lora(tiny_checkpoint)


def test_report_does_not_let_a_stranger_steer_the_terminal(written: Path) -> None:
    evil = "\x1b[2J\x1b]0;gone\x07\n"
    hostile = {"adversarial_erase": json.dumps({"erase": [evil], evil: evil}), "ss_sd_model_name": evil}
    text = str(explain_lora(changed(written, lambda tensors: None, **hostile)))
    assert all(line.isprintable() for line in text.split("\n"))
    assert "gone" in text
