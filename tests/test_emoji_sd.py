"""emoji-SD: its captions, its making, what ships, and how it gets into a web UI."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

import emoji_sd.install as installing
from emoji_sd import FOLDER, MODEL, load_classifier
from emoji_sd.captions import all_captions, draw_caption, fill, measured_caption
from emoji_sd.classifier import EmojiClassifier
from emoji_sd.classifier import load_classifier as read_classifier
from emoji_sd.concepts import CONCEPTS, NAMES, PAPER_TEN, STYLES
from emoji_sd.install import InstallError, install
from emoji_sd.making import vae as vae_making
from emoji_sd.making.data import BLUE, SLATE, compose
from emoji_sd.making.export import TOKENIZER_FILES, export, schedule_buffers
from emoji_sd.making.text_encoder import make_config
from emoji_sd.making.width import SHIPPED
from erasure.errors import EvaluationError
from tests.tiny import CLIP

pytestmark = pytest.mark.slow

# As "python -m emoji_sd install", by a Python without any packages.
_BARE = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
sys.argv = ["emoji_sd", "install", "--webui", sys.argv[2]]
runpy.run_module("emoji_sd", run_name="__main__")
"""

needs_weights = pytest.mark.skipif(not MODEL.exists(), reason="emoji-SD's weights are not in this checkout")


@pytest.fixture
def drawing() -> np.ndarray:
    """A red disc on nothing: uint8 (256, 256, 4)."""
    y, x = np.mgrid[:256, :256]
    inside = (y - 128) ** 2 + (x - 128) ** 2 < 90**2
    return np.where(inside[..., None], np.array([220, 40, 40, 255]), 0).astype(np.uint8)


@pytest.fixture
def webui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty web UI folder, and a stand-in for the shipped model that is quick to copy."""
    model = tmp_path / "model"
    (model / "text_encoder").mkdir(parents=True)
    (model / "emoji-sd.safetensors").write_bytes(b"weights")
    (model / "text_encoder" / "vocab.json").write_text("{}")
    stage = {"params": {"version": "text_encoder"}}
    config = {"model": {"params": {"cond_stage_config": stage}}}
    (model / "emoji-sd.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    monkeypatch.setattr(installing, "MODEL", model / "emoji-sd.safetensors")
    target = tmp_path / "webui"
    (target / "models" / "Stable-diffusion").mkdir(parents=True)
    return target


def test_there_are_a_hundred_concepts_in_several_styles_with_the_papers_ten_among_them() -> None:
    assert len(CONCEPTS) >= 100
    assert len(STYLES) >= 3
    assert len(PAPER_TEN) == 10
    assert set(PAPER_TEN) <= set(NAMES)


def test_every_word_belongs_to_one_concept() -> None:
    words = [word for concept in CONCEPTS for word in (concept.name, *concept.synonyms)]
    assert len(words) == len(set(words))


def test_every_caption_means_one_concept_and_one_style() -> None:
    meanings: dict[str, set[tuple[int | None, int | None]]] = {}
    for caption, concept, style in all_captions():
        meanings.setdefault(caption, set()).add((concept, style))
    assert [caption for caption, meaning in meanings.items() if len(meaning) > 1] == []


def test_drawn_captions_are_all_among_the_listed_ones() -> None:
    listed = {caption for caption, _, _ in all_captions()}
    rng = random.Random(0)
    drawn = [draw_caption(rng.choice(CONCEPTS), rng.choice(STYLES), rng) for _ in range(2000)]
    assert set(drawn) <= listed
    assert 0.6 < sum(caption.endswith("style") for caption in drawn) / len(drawn) < 0.8


def test_captions_carry_the_right_article() -> None:
    assert measured_caption("owl", "flat") == "a picture of an owl in flat style"
    assert measured_caption("church", "3d") == "a picture of a church in 3d style"
    assert fill("{a} {thing}", "grapes") == "grapes"


@pytest.mark.parametrize("style", STYLES)
def test_a_style_gives_the_same_picture_for_the_same_seed(style: str, drawing: np.ndarray) -> None:
    first, again, other = (compose(drawing, style, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.size == (128, 128)
    assert np.array_equal(np.asarray(first), np.asarray(again))
    assert not np.array_equal(np.asarray(first), np.asarray(other))


def test_styles_differ_in_their_background(drawing: np.ndarray) -> None:
    corners = {s: compose(drawing, s, np.random.default_rng(3)).getpixel((0, 0)) for s in STYLES}
    assert corners["flat"] == (255, 255, 255)
    assert corners["pixel"] == SLATE
    assert corners["blueprint"] == tuple(BLUE.astype(int))
    assert corners["3d"] not in (corners["flat"], corners["pixel"], corners["blueprint"])


def test_folding_gives_unit_latents_and_the_same_pictures() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(**vae_making.CONFIG).eval()
    pictures = torch.rand(6, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = vae.decode(vae.encode(pictures).latent_dist.mean).sample
        vae_making.fold_statistics(vae, pictures)
        latents = vae.encode(pictures).latent_dist.mean
        after = vae.decode(latents).sample
    scaled = latents * vae.config["scaling_factor"]
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-3)


def test_the_schedule_is_stable_diffusions() -> None:
    scheduler = DDIMScheduler(1000, 0.00085, 0.012, "scaled_linear")
    torch.testing.assert_close(schedule_buffers()["alphas_cumprod"], scheduler.alphas_cumprod)


def test_an_exported_file_computes_what_was_trained(tmp_path: Path) -> None:
    """``export`` itself loads the file back through the project's loader and compares the outputs."""
    torch.manual_seed(0)
    work, out = tmp_path / "work", tmp_path / "out"
    (work / "run").mkdir(parents=True)
    torch.save(UNet2DConditionModel(**SHIPPED.unet_config()).state_dict(), work / "run" / "ema.pt")
    AutoencoderKL(**vae_making.CONFIG).save_pretrained(work / "vae")
    CLIPTextModel(make_config()).save_pretrained(work / "text_encoder")
    (work / "tokenizer").mkdir()
    for name in TOKENIZER_FILES:
        shutil.copy(CLIP / name, work / "tokenizer" / name)
    checkpoint = export(work, out)
    assert checkpoint.with_suffix(".yaml").is_file()
    assert (out / "text_encoder" / "vocab.json").is_file()


@needs_weights
def test_what_ships_is_complete_and_small() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    names = {path.relative_to(FOLDER).as_posix() for path in files}
    wanted = {
        MODEL.name,
        f"{MODEL.stem}.yaml",
        "classifier.safetensors",
        "figures.json",
        "text_encoder/config.json",
    }
    assert wanted | {f"text_encoder/{name}" for name in TOKENIZER_FILES} <= names
    assert sum(path.stat().st_size for path in files) < 64_000_000
    assert max(path.stat().st_size for path in files) < 50_000_000


@needs_weights
def test_the_shipped_config_names_its_text_encoder_relative_to_itself() -> None:
    config = yaml.safe_load(MODEL.with_suffix(".yaml").read_text(encoding="utf-8"))
    version = config["model"]["params"]["cond_stage_config"]["params"]["version"]
    assert not Path(version).is_absolute()
    assert (FOLDER / version / "config.json").is_file()


@needs_weights
def test_measured_figures_reach_their_goals() -> None:
    figures = json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))
    assert figures["pictures"] == len(NAMES) * len(STYLES)
    assert figures["concept_top_1"] >= 75
    assert figures["concept_top_5"] >= 92
    assert figures["style_top_1"] >= 60


@needs_weights
def test_the_classifier_recognises_generated_pictures_and_not_others() -> None:
    from emoji_sd.measure import draw

    names = ("church", "fish", "truck")
    drawn = draw(names, guidance=4.0)
    wanted = [name for name in names for _ in STYLES]
    judge = load_classifier()
    assert sum(rank < 5 for rank in judge.concept_ranks(drawn, wanted)) >= 9
    assert sum(rank == 0 for rank in judge.style_ranks(drawn, list(STYLES) * len(names))) >= 8
    assert sum(rank < 5 for rank in judge.concept_ranks(drawn, ["banana"] * len(drawn))) <= 4


def test_installing_copies_the_model_and_points_its_config_at_the_text_encoder(webui: Path) -> None:
    written = install(webui)
    assert all(path.is_file() for path in written)
    config = yaml.safe_load((webui / "models" / "Stable-diffusion" / "emoji-sd.yaml").read_text())
    folder = Path(config["model"]["params"]["cond_stage_config"]["params"]["version"])
    assert folder.is_absolute()
    assert (folder / "vocab.json").is_file()


def test_installing_twice_is_fine(webui: Path) -> None:
    assert install(webui) == install(webui)


def test_a_different_file_of_that_name_is_replaced_only_with_force(webui: Path) -> None:
    other = webui / "models" / "Stable-diffusion" / "emoji-sd.safetensors"
    other.write_bytes(b"mine")
    with pytest.raises(InstallError, match=r"emoji-sd\.safetensors"):
        install(webui)
    assert other.read_bytes() == b"mine"
    install(webui, force=True)
    assert other.read_bytes() == b"weights"


@needs_weights
def test_installing_needs_nothing_but_python(tmp_path: Path) -> None:
    webui = tmp_path / 'a "web UI": 中文 😀 #1'
    (webui / "models" / "Stable-diffusion").mkdir(parents=True)
    command = [sys.executable, "-I", "-S", "-c", _BARE, str(FOLDER.parents[1]), str(webui)]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert (result.returncode, result.stderr) == (0, "")
    ours, theirs = FOLDER / "emoji-sd.yaml", webui / "models" / "Stable-diffusion" / "emoji-sd.yaml"
    config = yaml.safe_load(ours.read_text(encoding="utf-8"))
    config["model"]["params"]["cond_stage_config"]["params"]["version"] = str(webui / "models" / installing.TEXT_FOLDER)
    assert yaml.safe_load(theirs.read_text(encoding="utf-8")) == config


def test_a_config_that_an_earlier_version_wrote_is_no_other_file(webui: Path) -> None:
    install(webui)
    written = webui / "models" / "Stable-diffusion" / "emoji-sd.yaml"
    written.write_text(yaml.safe_dump(yaml.safe_load(written.read_text()), sort_keys=False))
    install(webui)


@pytest.fixture
def miniature(tmp_path: Path) -> Path:
    """A checkpoint with two text encoders, one of them OpenCLIP's, as ``export_miniature`` writes it."""
    config: dict[str, Any] = {"encoders": []}
    for name, arch in (("small-text-encoder", None), ("small-text-encoder-2", "small")):
        folder = tmp_path / "small" / name
        folder.mkdir(parents=True)
        (folder / "vocab.json").write_text("{}")
        config["encoders"].append({"version": name} | ({"arch": arch} if arch else {}))
    (tmp_path / "small" / "small-text-encoder-2" / installing.OPEN_CLIP).write_text('{"embed_dim": 64}')
    checkpoint = tmp_path / "small" / "small.safetensors"
    checkpoint.write_bytes(b"weights")
    checkpoint.with_suffix(".yaml").write_text(yaml.safe_dump(config))
    return checkpoint


@pytest.mark.parametrize("venv", ["venv/lib/python3.10/site-packages", "venv/Lib/site-packages"])
def test_a_miniature_brings_its_text_encoders_and_the_architecture_that_open_clip_builds(
    webui: Path, miniature: Path, venv: str
) -> None:
    known = webui / venv / "open_clip" / "model_configs"
    known.mkdir(parents=True)
    written = install(webui, miniature)
    assert known / "small.json" in written
    assert json.loads((known / "small.json").read_text()) == {"embed_dim": 64}
    config = yaml.safe_load((webui / "models" / "Stable-diffusion" / "small.yaml").read_text())
    folders = [Path(told["version"]) for told in config["encoders"]]
    assert folders == [webui / "models" / name for name in ("small-text-encoder", "small-text-encoder-2")]
    assert all((folder / "vocab.json").is_file() for folder in folders)


def test_an_architecture_of_open_clips_own_is_not_replaced(webui: Path, miniature: Path, tmp_path: Path) -> None:
    library = tmp_path / "open_clip"
    (library / "model_configs").mkdir(parents=True)
    theirs = library / "model_configs" / "small.json"
    theirs.write_text("theirs")
    with pytest.raises(InstallError, match=r"small\.json"):
        install(webui, miniature, open_clip=library)
    assert theirs.read_text() == "theirs"
    assert list((webui / "models" / "Stable-diffusion").iterdir()) == []


def test_without_open_clip_a_miniature_is_refused_before_anything_is_copied(webui: Path, miniature: Path) -> None:
    with pytest.raises(InstallError, match="--open-clip DIR"):
        install(webui, miniature)
    assert list((webui / "models" / "Stable-diffusion").iterdir()) == []


def test_a_file_that_is_no_checkpoint_of_ours_is_refused(webui: Path, miniature: Path) -> None:
    miniature.with_suffix(".yaml").unlink()
    with pytest.raises(InstallError, match=r"no checkpoint with a \.yaml beside it"):
        install(webui, miniature)


def test_a_folder_that_is_no_web_ui_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="no Stable Diffusion web UI"):
        install(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_classifier_of_emoji_sd_is_an_error_that_says_so(tmp_path: Path) -> None:
    two = EmojiClassifier(2, 1).state_dict()
    weights = {name: tensor for name, tensor in two.items() if not name.endswith("num_batches_tracked")}
    for concepts, says in (
        ('["a", "b"', "does not fit"),
        ('{"a": 1}', "no list of names"),
        ("[1, 2]", "no list of names"),
        ('["a", "b", "c"]', "size mismatch"),
    ):
        path = tmp_path / "classifier.safetensors"
        save_file(weights, path, {"concepts": concepts, "styles": '["flat"]'})
        with pytest.raises(EvaluationError, match=says):
            read_classifier(path)
