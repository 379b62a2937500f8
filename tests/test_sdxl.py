"""SDXL: a tiny model of its layout is loaded from both kinds of files, and predicts as diffusers' own pipeline does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from emoji_sd.original_layout import unet_key
from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.families.sdxl import SDXL
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.learnt_words import LearntWord, token_vectors
from erasure.model.loading import load_parts
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from tests import tiny, tiny_xl
from tests.test_models import assert_same

PROMPTS = ["a church", "a very long road to a garbage truck", "radio"]
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_xl.tiny_xl_checkpoint(tmp_path_factory.mktemp("xl"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_xl.tiny_xl_folder(tmp_path_factory.mktemp("xl") / "tiny-xl")


@pytest.fixture(scope="module")
def built() -> ModelParts:
    return tiny_xl.build_tiny_xl()


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    return Model(load_parts(checkpoint))


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True, add_watermarker=False)


# --- loaded


def test_both_layouts_give_the_same_model(checkpoint: Path, folder: Path, built: ModelParts, model: Model) -> None:
    infos = inspect_checkpoint(checkpoint), inspect_checkpoint(folder)
    assert [info.family for info in infos] == [SDXL, SDXL]
    parts = model.parts, load_parts(infos[1])
    for own in parts:
        assert_same(own, built)
        assert own.notes == ()
        assert [reader.tokenizer.pad_token for reader in own.texts] == ["<|endoftext|>", "!"]
        assert own.vae is not None
        assert own.vae.config.scaling_factor == SDXL.vae_scale
        assert (own.sample_size, own.vae_scale_factor) == (8, 8)
    one, other = (info.size for info in infos)
    assert (one.unet, one.vae, one.pixels) == (other.unet, other.vae, other.pixels)
    # The original layout also has the scale of the logits; old versions of transformers store positions.
    assert one.text_encoder == pytest.approx(other.text_encoder, abs=200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("refiner", "a Stable Diffusion XL refiner model"),
        ("inpainting", r"an inpainting model \(9 input channels\)"),
        ("no second text encoder", r"lacks \d+ weights of its text encoder|text encoder are incomplete"),
        ("no text encoder", "a U-Net without text encoder"),
        ("playground", "EDM's noise levels, such as Playground"),
    ],
)
def test_relatives_and_halves_are_refused_by_name(change: str, message: str, checkpoint: Path, tmp_path: Path) -> None:
    state, first = load_file(checkpoint), "conditioner.embedders.0."
    if change == "refiner":  # it has the larger text encoder alone, as its first
        state = {k.replace("embedders.1.", "embedders.0."): v for k, v in state.items() if not k.startswith(first)}
    elif change == "inpainting":
        state["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, 9, 3, 3)
    elif change == "playground":
        state["edm_mean"] = torch.zeros(1, 4, 1, 1)
    else:
        gone = "conditioner.embedders.1." if change == "no second text encoder" else "conditioner."
        state = {k: v for k, v in state.items() if not k.startswith(gone)}
        if gone == "conditioner.embedders.1.":
            state["conditioner.embedders.1.model.logit_scale"] = torch.ones([])
        else:  # then only the width of its text tells it
            state["model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"] = torch.ones(1, 2048)
    path = copied_beside(checkpoint, state, tmp_path)
    with pytest.raises((UnsupportedCheckpoint, BrokenCheckpoint), match=message):
        load_parts(path)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLInpaintPipeline"}, "an inpainting model"),
        ("unet/config.json", {"cross_attention_dim": 1280}, "a Stable Diffusion XL refiner model"),
        ("unet/config.json", {"in_channels": 9}, "an inpainting model"),
        ("unet/config.json", {"addition_embed_type": None}, "takes text alone"),
        ("text_encoder_2/config.json", {"hidden_size": 48}, r"width 64, the text encoders have 32 and 48"),
        ("scheduler/scheduler_config.json", {"sigma_data": 0.5}, "EDM's noise levels"),
    ],
)
def test_folders_of_relatives_are_refused_by_name(
    file: str, changes: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    told = json.loads((copy / file).read_text(encoding="utf-8"))
    (copy / file).write_text(json.dumps({**told, **changes}), encoding="utf-8")
    with pytest.raises((UnsupportedCheckpoint, BrokenCheckpoint), match=message):
        inspect_checkpoint(copy)


def test_a_folder_without_its_second_text_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("text_encoder_2"))
    with pytest.raises(BrokenCheckpoint, match="lacks the weights of its text_encoder_2"):
        inspect_checkpoint(tmp_path / "model")


def test_a_yaml_of_another_kind_of_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    path = copied_beside(checkpoint, load_file(checkpoint), tmp_path)
    beside = path.with_suffix(".yaml")
    text = beside.read_text(encoding="utf-8")
    beside.write_text(text.replace("FrozenOpenCLIPEmbedder2", "SomethingElse"), encoding="utf-8")
    with pytest.raises(UnsupportedCheckpoint, match="describes a model with 1 text encoders, where SDXL has 2"):
        inspect_checkpoint(path)
    shutil.copy(tiny.DATA / "sd1.yaml", beside)
    with pytest.raises(UnsupportedCheckpoint, match="describes a model with 1 text encoders, where SDXL has 2"):
        inspect_checkpoint(path)


def test_what_it_predicts_is_told_by_the_yaml_beside_it_or_by_the_file(checkpoint: Path, tmp_path: Path) -> None:
    path = copied_beside(checkpoint, {**load_file(checkpoint), "v_pred": torch.ones(1)}, tmp_path)
    beside = path.with_suffix(".yaml")
    text = beside.read_text(encoding="utf-8")
    assert inspect_checkpoint(path).prediction_type == "epsilon"
    beside.write_text(text.replace("EpsScaling", "VScaling"), encoding="utf-8")
    assert inspect_checkpoint(path).prediction_type == "v_prediction"
    assert load_parts(path).prediction_type == "v_prediction"
    beside.write_text(text.replace("EpsScaling", "EDMScaling"), encoding="utf-8")
    with pytest.raises(UnsupportedCheckpoint, match="EDMScaling"):
        inspect_checkpoint(path)
    beside.unlink()
    assert inspect_checkpoint(path).prediction_type == "v_prediction"


def copied_beside(checkpoint: Path, state: State, folder: Path) -> Path:
    save_file(state, folder / "tiny-xl.safetensors")
    shutil.copy(checkpoint.with_suffix(".yaml"), folder / "tiny-xl.yaml")
    for text in ("tiny-xl-text", "tiny-xl-text-2"):
        shutil.copytree(checkpoint.with_name(text), folder / text)
    return folder / "tiny-xl.safetensors"


def test_the_published_sizes_are_those_of_the_shipped_configuration() -> None:
    """Names and shapes of SDXL base, without memory behind them, through the shipped yaml and text configurations."""
    import yaml

    from erasure.model.build_parts import build_text_encoder, build_vae, unet_from_ldm, vae_config_from_ldm

    document = yaml.safe_load(SDXL.yaml.read_text(encoding="utf-8"))
    with torch.device("meta"):
        wanted = tiny_xl.build_unet(tiny_xl.FULL_UNET).state_dict()
    named = {
        f"model.diffusion_model.{unet_key(name, lowest_attention=True)}": tensor for name, tensor in wanted.items()
    }
    unet = unet_from_ldm(document, named, 128, "full", [])
    assert {name: tensor.shape for name, tensor in unet.state_dict().items()} == {n: t.shape for n, t in wanted.items()}
    texts = [
        build_text_encoder(json.loads(own.config.read_text(encoding="utf-8")), "full", projection=own.pooled)
        for own in SDXL.text_encoders
    ]
    vae = build_vae(vae_config_from_ldm(document, SDXL.vae_scale, "full"), "full")
    sizes = [sum(weight.numel() for weight in part.parameters()) for part in (unet, vae, *texts)]
    full = SDXL.full
    assert (sizes[0], sizes[1], sum(sizes[2:])) == (full.unet, full.vae, full.text_encoder)
    assert sizes[0] == 2_567_463_684


# --- predicts


def test_prompts_are_told_as_diffusers_tells_them(model: Model, pipeline: Any) -> None:
    with torch.no_grad():
        states, no_states, pooled, no_pooled = pipeline.encode_prompt(PROMPTS, device="cpu")
    own, nothing = model.embed(PROMPTS), model.embed([""])
    torch.testing.assert_close(own.states, states)
    torch.testing.assert_close(own.pooled, pooled)
    assert states.shape == (3, 77, 2 * tiny_xl.WIDTH)
    # An empty prompt is what guidance leads away from: all zeros.
    for given, wanted in ((nothing.states, no_states[:1]), (nothing.pooled, no_pooled[:1])):
        assert given is not None
        assert not wanted.any()
        assert torch.equal(given, wanted)
    assert torch.equal(model.embed(["", "radio"]).states[0], nothing.states[0])
    assert bool(model.embed([" "]).states.any())


def test_the_unet_is_told_the_sizes_of_the_picture(model: Model, pipeline: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    z, t = torch.randn(3, 4, 8, 16, generator=generator), torch.tensor([1, 500, 999])
    own = model.embed(PROMPTS)
    size = (64, 128)  # height and width of the picture
    sizes = pipeline._get_add_time_ids(size, (0, 0), size, torch.float32, tiny_xl.POOLED).expand(3, -1)
    with torch.no_grad():
        added = {"text_embeds": own.pooled, "time_ids": sizes}
        wanted = pipeline.unet(z, t, own.states, added_cond_kwargs=added).sample
        found = model.eps(z, t, own)
        other = pipeline.unet(z, t, own.states, added_cond_kwargs={**added, "time_ids": sizes + 64}).sample
    torch.testing.assert_close(found, wanted)
    assert (found - other).abs().max() > 1e-4, "the sizes matter"


def test_pictures_are_sampled_as_diffusers_samples_them(model: Model, pipeline: Any) -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    scheduler = DDIMScheduler(
        **tiny.SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading"
    )
    pipeline.scheduler = scheduler
    pipeline.set_progress_bar_config(disable=True)
    wanted = pipeline(
        "a church", height=64, width=64, num_inference_steps=4, guidance_scale=5.0, latents=noise, output_type="latent"
    ).images
    found = model.sample(model.embed(["a church"]), noise, steps=4, guidance=5.0)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert model.decode(found[0]).size == (64, 64)


def test_a_mixture_has_a_pooled_embedding_and_a_gradient_in_it(model: Model) -> None:
    weights = torch.tensor([0.5, 0.25, 0.25], requires_grad=True)
    prompts = model.embed(PROMPTS)
    mixed = prompts.mix(weights)
    assert mixed.pooled is not None
    assert prompts.pooled is not None
    torch.testing.assert_close(mixed.pooled[0], weights @ prompts.pooled)
    z, t = torch.ones(1, 4, 8, 8), torch.tensor([500])
    way = mixed.detach().leaf()
    gradient = way.gradient(model.eps(z, t, way).square().mean())
    assert gradient.pooled is not None
    assert bool(gradient.pooled.any())
    (own,) = torch.autograd.grad(model.eps(z, t, mixed).square().mean(), weights)
    wanted = [(gradient.states * p.states).sum() + (gradient.pooled * p.pooled).sum() for p in prompts]  # type: ignore[operator]
    torch.testing.assert_close(own, torch.stack(wanted), rtol=1e-3, atol=1e-7)


def test_a_learnt_word_is_read_by_both_text_encoders(model: Model) -> None:
    parts, templates = model.parts, ("a {}", "{} in the sun")
    vectors = token_vectors(parts, "fuel pump", 2)
    assert vectors.shape == (2, 2 * tiny_xl.WIDTH)
    word = LearntWord(parts, vectors)
    found, known = word(templates), model.embed([template.replace("{}", "fuel pump") for template in templates])
    torch.testing.assert_close(found.states, known.states)
    torch.testing.assert_close(found.pooled, known.pooled)
    found.states.sum().backward()
    assert word.vectors.grad is not None
    assert all(bool(half.any()) for half in word.vectors.grad.split(tiny_xl.WIDTH, dim=1))


def test_the_summary_of_a_prompt_is_the_states_at_its_end_side_by_side(model: Model) -> None:
    ends = [len(model.tokenizer(prompt).input_ids) - 1 for prompt in PROMPTS]
    wanted = model.embed(PROMPTS).states[torch.arange(3), torch.tensor(ends)]
    torch.testing.assert_close(model.pooled(PROMPTS), wanted)
