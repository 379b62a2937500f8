"""LoRA files that change text encoders: read as they were written, by diffusers as well, and taken off again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from diffusers import DiffusionPipeline
from packaging.version import Version
from safetensors.torch import load_file, save_file
from torch import Tensor

from erasure.errors import LoraFileError
from erasure.families.family import Family
from erasure.families.known import FAMILIES
from erasure.families.sd1 import SD1
from erasure.families.sd2 import SD2
from erasure.families.sdxl import SDXL
from erasure.lora.adapter import inject_lora, inject_lora_on, lora_layers
from erasure.lora.file import module_key, read_lora, write_lora
from erasure.lora.fit import match_lora, module_paths
from erasure.lora.layer_choice import base_layers
from erasure.lora.model_adapter import (
    apply_lora_file,
    inject_lora_file,
    load_model_state,
    model_layers,
    model_lora_layers,
    model_shapes,
    model_state,
    remove_model_lora,
)
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.model import Model, open_model
from erasure.model.parts import ModelParts
from erasure.model.text_reader import read_together
from tests import tiny, tiny_sd2, tiny_xl
from tests.loras import random_lora

PROMPTS = ["a church", "a dog at night"]
ALPHA, RANK = 1.0, 2
TEXT = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
BOTH = ("attn2.to_k", "attn2.to_v", *TEXT)
FOLDERS = {
    SD1: tiny.tiny_diffusers_folder,
    SD2: lambda folder: tiny_sd2.diffusers_folder(folder, "v_prediction"),
    SDXL: tiny_xl.tiny_xl_folder,
}
BEGINNINGS = {SD1: {"lora_te"}, SD2: {"lora_te"}, SDXL: {"lora_te1", "lora_te2"}}


@dataclass(frozen=True)
class Tiny:
    """A tiny model of a family, and the diffusers folder that it is of."""

    family: Family
    folder: Path
    model: Model

    @property
    def modules(self) -> dict[str, torch.nn.Module]:
        return self.model.parts.modules

    def drawn(self) -> Tensor:
        noise = torch.stack([self.model.noise(torch.Generator().manual_seed(seed)) for seed in (1, 2)])
        with torch.no_grad():
            return self.model.sample(self.model.embed(PROMPTS), noise, steps=2, guidance=3.0)

    def lora(self, path: Path, layers: Sequence[str] = BOTH, alpha: float = ALPHA) -> Path:
        """A random LoRA on the layers whose names end like this."""
        return random_lora(
            path, modules=self.modules, layers=tuple(layers), family=self.family, alpha=alpha, strength=0.1
        )


@pytest.fixture(scope="module", params=FAMILIES, ids=[family.short for family in FAMILIES])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    family: Family = request.param
    folder = FOLDERS[family](tmp_path_factory.mktemp("text") / "model")
    return Tiny(family, folder, open_model(inspect_checkpoint(folder)))


@pytest.fixture
def of_family(built: Tiny) -> Tiny:
    """A model without a LoRA, whatever the test before did."""
    remove_model_lora(built.modules)
    return built


def text_states(parts: ModelParts) -> list[Tensor]:
    """What the text encoders tell of prompts, straight from them."""
    with torch.no_grad():
        return list(read_together(parts.texts, [reader.ids(PROMPTS) for reader in parts.texts]).tensors)


def far_from(found: Tensor, other: Tensor) -> bool:
    return float((found - other).norm() / other.norm()) > 0.005


# --- the same model for every reader


def test_a_file_read_back_draws_what_was_trained_and_goes_without_a_trace(of_family: Tiny, tmp_path: Path) -> None:
    modules, base = of_family.modules, of_family.drawn()
    weights = {path: layer.weight.clone() for path, layer in model_layers(modules).items()}
    inject_lora(of_family.model.unet, "xattn_kv", RANK, ALPHA, seed=0)
    for name, encoder in modules.items():
        if name:
            inject_lora_on(encoder, [path for path in base_layers(encoder) if path.endswith(TEXT)], RANK, ALPHA, 1)
    assert torch.equal(of_family.drawn(), base), "a new adapter changes nothing"
    random = torch.Generator().manual_seed(2)
    state = {key: 0.1 * torch.randn(w.shape, generator=random) for key, w in model_state(modules).items()}
    load_model_state(modules, state)
    ours = of_family.drawn()
    path = tmp_path / "gone.safetensors"
    write_lora(path, model_state(modules), family=of_family.family, alpha=ALPHA, metadata={}, dtype=torch.float32)
    remove_model_lora(modules)
    assert torch.equal(of_family.drawn(), base)

    file = read_lora(path, (of_family.family,))
    assert len(file.modules) == len(state) / 2
    assert {key.partition("_text_model_")[0] for key in file.modules if "_te" in key} == BEGINNINGS[of_family.family]
    apply_lora_file(modules, file)
    assert torch.equal(of_family.drawn(), ours)
    found = model_state(modules)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    with of_family.model.frozen():
        assert torch.equal(of_family.drawn(), base)
    remove_model_lora(modules)
    assert torch.equal(of_family.drawn(), base)
    assert far_from(ours, base)
    assert all(torch.equal(layer.weight, weights[path]) for path, layer in model_layers(modules).items())
    assert not any(hasattr(module, "peft_config") for module in modules.values())


@pytest.mark.parametrize("layers", [TEXT, BOTH], ids=["text alone", "both"])
def test_the_weight_of_a_file_scales_its_text_layers_too(
    of_family: Tiny, tmp_path: Path, layers: tuple[str, ...]
) -> None:
    modules, base = of_family.modules, of_family.drawn()
    file = read_lora(of_family.lora(tmp_path / "gone.safetensors", layers), (of_family.family,))
    inject_lora_file(modules, file, 0.5)
    states, drawn = text_states(of_family.model.parts), of_family.drawn()
    remove_model_lora(modules)
    inject_lora_file(modules, file, 0.0)
    assert torch.equal(of_family.drawn(), base)
    remove_model_lora(modules)
    by_key = {module_key(path, of_family.family): layer for path, layer in model_layers(modules).items()}
    kept = {key: by_key[key].weight.data for key in file.modules}
    try:
        for key in file.modules:
            down, up, scale = file.weights(key)
            assert scale == ALPHA / RANK
            by_key[key].weight.data = kept[key] + 0.5 * scale * up @ down
        for found, wanted in zip(states, text_states(of_family.model.parts), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        fresh = replace(of_family, model=Model(of_family.model.parts))
        torch.testing.assert_close(drawn, fresh.drawn(), rtol=1e-3, atol=1e-3 * float(drawn.abs().max()))
    finally:
        for key, weight in kept.items():
            by_key[key].weight.data = weight
    assert far_from(drawn, base)


def test_in_half_precision_the_text_encoders_say_nearly_the_same(of_family: Tiny, tmp_path: Path) -> None:
    path, base = of_family.lora(tmp_path / "gone.safetensors"), of_family.model.embed(PROMPTS)
    apply_lora_file(of_family.modules, read_lora(path, (of_family.family,)))
    half = open_model(of_family.model.parts.info, precision="bf16")
    apply_lora_file(half.parts.modules, read_lora(path, (of_family.family,)))
    ours, found = of_family.model.embed(PROMPTS), half.embed(PROMPTS)
    assert {tensor.dtype for tensor in found.tensors} == {torch.float32}
    assert float((found.states - ours.states).norm() / (ours.states - base.states).norm()) < 0.1


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("4.34"),
    reason="this transformers is too old for diffusers' load_lora_weights",
)
def test_diffusers_loads_the_same_text_encoders(of_family: Tiny, tmp_path: Path) -> None:
    path, parts = of_family.lora(tmp_path / "gone.safetensors"), of_family.model.parts
    base = text_states(parts)
    pipeline: DiffusionPipeline = getattr(diffusers, of_family.family.pipelines[0]).from_pretrained(
        of_family.folder, local_files_only=True
    )
    pipeline.load_lora_weights(tmp_path, weight_name=path.name)
    encoders = [getattr(pipeline, reader.family.part) for reader in parts.texts]
    texts = tuple(replace(reader, encoder=encoder) for reader, encoder in zip(parts.texts, encoders, strict=True))
    theirs = text_states(replace(parts, texts=texts))
    apply_lora_file(of_family.modules, read_lora(path, (of_family.family,)))
    for ours, found, before in zip(text_states(parts), theirs, base, strict=True):
        change = float((ours - before).abs().max())
        assert change > 0.01
        torch.testing.assert_close(found, ours, rtol=0, atol=1e-4 * change)


# --- names


@pytest.mark.parametrize(
    ("family", "part", "wanted"),
    [
        (SD1, "text_encoder", "lora_te_text_model_encoder_layers_3_self_attn_out_proj"),
        (SD2, "text_encoder", "lora_te_text_model_encoder_layers_3_self_attn_out_proj"),
        (SDXL, "text_encoder", "lora_te1_text_model_encoder_layers_3_self_attn_out_proj"),
        (SDXL, "text_encoder_2", "lora_te2_text_model_encoder_layers_3_self_attn_out_proj"),
    ],
)
def test_a_key_does_not_depend_on_what_transformers_calls_the_layer(family: Family, part: str, wanted: str) -> None:
    layer = "encoder.layers.3.self_attn.out_proj"
    assert module_key(f"{part}.{layer}", family) == module_key(f"{part}.text_model.{layer}", family) == wanted


def test_every_layer_has_a_key_of_its_own(of_family: Tiny) -> None:
    layers = model_layers(of_family.modules)
    paths = module_paths(layers, of_family.family)
    assert len(paths) == len(layers)
    assert all(key.startswith(of_family.family.lora_prefixes) for key in paths)
    encoders = [reader.encoder for reader in of_family.model.parts.texts]
    # Attention has four layers, and what follows two; a projection, which SDXL has, is none of a LoRA's.
    text = sum(6 * encoder.config.num_hidden_layers for encoder in encoders)
    assert len(paths) == len(base_layers(of_family.model.unet)) + text


def test_a_file_for_text_encoders_alone_is_told_by_names_words_or_width(tmp_path: Path) -> None:
    def written(name: str, width: int = 32, **metadata: str) -> Path:
        layer = f"{name}_text_model_encoder_layers_0_mlp_fc1"
        parts = {f"{layer}.lora_down.weight": torch.ones(2, width), f"{layer}.lora_up.weight": torch.ones(3, 2)}
        save_file(parts, tmp_path / "lora.safetensors", metadata or None)
        return tmp_path / "lora.safetensors"

    assert read_lora(written("lora_te")).family is SD1
    assert not read_lora(written("lora_te")).told_family
    assert read_lora(written("lora_te", ss_base_model_version="sd_v2", ss_v2="True")).family is SD2
    for width, family in ((768, SD1), (1024, SD2)):
        assert read_lora(written("lora_te", width)).family is family
        assert read_lora(written("lora_te", width)).told_family
    for name in ("lora_te1", "lora_te2"):
        assert read_lora(written(name)).family is SDXL
    with pytest.raises(LoraFileError, match=r"is a LoRA for Stable Diffusion XL; .* SD 1\.x model in kohya's layout"):
        read_lora(written("lora_te2"), (SD1,))
    with pytest.raises(LoraFileError, match="an unknown layout"):
        read_lora(written("lora_clip"))


# --- what is refused


@pytest.mark.parametrize("layer", ["encoder_layers_9_mlp_fc1", "embeddings_token_embedding", "final_layer_norm"])
def test_a_layer_that_the_text_encoder_does_not_have_is_refused_by_name(
    of_family: Tiny, tmp_path: Path, layer: str
) -> None:
    path, prefix = of_family.lora(tmp_path / "gone.safetensors"), of_family.family.lora_prefixes[-1]
    known = f"{prefix}encoder_layers_0_mlp_fc1"
    tensors = {name.replace(known, prefix + layer): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path)
    file, base = read_lora(path, (of_family.family,)), of_family.drawn()
    with pytest.raises(LoraFileError, match=rf"{prefix}{layer}: the model has no such layer \(unmatched key\)"):
        match_lora(file, model_shapes(of_family.modules))
    with pytest.raises(LoraFileError, match=f"the model has no layer {prefix}{layer}"):
        inject_lora_file(of_family.modules, file, 1.0)
    assert not model_lora_layers(of_family.modules)
    assert torch.equal(of_family.drawn(), base)


def test_a_text_layer_of_another_width_is_refused_and_nothing_is_left_on(of_family: Tiny, tmp_path: Path) -> None:
    path = of_family.lora(tmp_path / "gone.safetensors")
    key = f"{of_family.family.lora_prefixes[-1]}encoder_layers_0_mlp_fc1.lora_down.weight"
    save_file({**load_file(path), key: torch.ones(RANK, 7)}, path)
    file = read_lora(path, (of_family.family,))
    with pytest.raises(LoraFileError, match=r"mlp_fc1: lora_down\.weight has the wrong shape \(2, 7\)"):
        apply_lora_file(of_family.modules, file)
    with pytest.raises(LoraFileError, match="do not fit the adapter"):
        inject_lora_file(of_family.modules, file, 1.0)
    assert not model_lora_layers(of_family.modules), "what was put on before, such as that of the U-Net, is off again"


def test_a_second_file_is_refused_and_the_first_stays(of_family: Tiny, tmp_path: Path) -> None:
    first = read_lora(of_family.lora(tmp_path / "unet.safetensors", ("attn2.to_k",)), (of_family.family,))
    second = read_lora(of_family.lora(tmp_path / "text.safetensors", TEXT), (of_family.family,))
    apply_lora_file(of_family.modules, first)
    with pytest.raises(ValueError, match="already has a LoRA; remove it first"):
        apply_lora_file(of_family.modules, second)
    assert len(model_lora_layers(of_family.modules)) == len(lora_layers(of_family.model.unet)) == len(first.modules)
