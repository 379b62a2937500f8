"""Metrics: what they count, and what they say when something optional is missing."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from erasure.errors import EvaluationError, MissingExtra
from erasure.evaluate import clip, distance, extras, image_classifier
from erasure.evaluate.appearance import appearance, appearance_moved, certain_share
from erasure.evaluate.fid import frechet_distance
from erasure.evaluate.nudity import exposed_scores, nudenet_detector, nudity_rates
from erasure.evaluate.pixels import prepare
from erasure.evaluate.recognition import erasing_success, preserving_success, rank_pictures
from erasure.evaluate.spectrum import sensitivity_spectrum
from erasure.lora.adapter import inject_lora, lora_layers
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.spread import spread


def _noise_picture(seed: int, side: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def test_rates_count_ranks_below_k() -> None:
    ranks = [0, 0, 1, 4, 5, 90, 0, 3]
    assert preserving_success(ranks, 1) == 37.5
    assert preserving_success(ranks, 5) == 75.0
    assert erasing_success(ranks, 5) == 25.0


def test_no_pictures_are_an_error_and_no_rate() -> None:
    with pytest.raises(EvaluationError, match="no pictures"):
        erasing_success([], 1)


def test_pictures_are_opened_a_few_at_a_time_and_keep_their_order() -> None:
    most = [0]

    def classify(pictures: Any, labels: Any) -> list[int]:
        most[0] = max(most[0], len(pictures))
        return [picture.getpixel((0, 0))[0] - int(label) for picture, label in zip(pictures, labels, strict=True)]

    openers = [lambda i=i: Image.new("RGB", (2, 2), (i, 0, 0)) for i in range(150)]
    assert rank_pictures(classify, openers, [str(i) for i in range(150)]) == [0] * 150
    assert 0 < most[0] < 150


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(MissingExtra, match=r"no_such_package.*adversarial-erase\[metrics\]"):
        extras.need("no_such_package.part", "metrics")


def test_missing_weights_are_named_with_place_and_source(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"LPIPS needs the model file a\.pth.*example\.org"):
        extras.need_weights(tmp_path / "a.pth", "LPIPS", "example.org")


def test_an_untrained_resnet_judges_only_when_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(image_classifier, "need", lambda *_: nn)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingExtra, match=image_classifier.WEIGHTS):
        image_classifier.imagenet_ranks({"church": 497})
    judge = image_classifier.imagenet_ranks({"church": 497, "tench": 0}, random=True)
    ranks = judge([_noise_picture(1, 64), _noise_picture(2, 64)], ["church", "tench"])
    assert all(0 <= rank < 1000 for rank in ranks)


def test_a_trained_classifier_folder_is_believed(tmp_path: Path) -> None:
    """A classifier built so that class 3 always wins: 3 has rank 0, and every other label a later one."""
    from transformers import ResNetConfig, ResNetForImageClassification

    model = ResNetForImageClassification(
        ResNetConfig(num_labels=1000, embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic")
    )
    with torch.no_grad():
        model.classifier[1].weight.zero_()
        model.classifier[1].bias.copy_(-torch.arange(1000.0))
        model.classifier[1].bias[3] = 10.0
    model.save_pretrained(tmp_path, safe_serialization=True)
    judge = image_classifier.imagenet_ranks({"a": 3, "b": 0, "c": 999}, weights=str(tmp_path))
    assert judge([_noise_picture(i) for i in range(3)], ["a", "b", "c"]) == [0, 1, 999]


def test_a_classifier_of_other_classes_is_refused(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(num_labels=7, embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(tmp_path, safe_serialization=True)
    with pytest.raises(EvaluationError, match="7 classes"):
        image_classifier.imagenet_ranks({"a": 3}, weights=str(tmp_path))


def test_no_pickle_of_a_classifier_is_opened(tmp_path: Path) -> None:
    from transformers import ResNetConfig

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    ResNetConfig(num_labels=1000).save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(EvaluationError, match="safetensors"):
        image_classifier.imagenet_ranks({"a": 3}, weights=str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_damaged_weights_of_the_judge_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class _Models:
        @staticmethod
        def resnet50(weights: None) -> nn.Module:
            return nn.Linear(1, 1)

    monkeypatch.setattr(image_classifier, "need", lambda *_: _Models)
    file = tmp_path / "judge.pth"
    for content in (b"junk", b"", b"PK" + bytes(40)):
        file.write_bytes(content)
        with pytest.raises(EvaluationError, match=r"judge\.pth holds no weights"):
            image_classifier.imagenet_ranks({"church": 497}, weights=str(file))


def test_pictures_of_any_shape_reach_the_classifier_as_224_squares() -> None:
    pictures = [Image.new("RGB", (512, 300), "white"), Image.new("RGB", (40, 90), "black")]
    pixels = prepare(pictures, image_classifier.IMAGENET)
    assert pixels.shape == (2, 3, 224, 224)
    assert pixels[0].mean() > 2
    assert pixels[1].mean() < -1.5


def test_pictures_are_prepared_as_each_network_was_trained() -> None:
    """Values of a small picture, worked out once by each network's own preprocessing."""
    levels = (np.arange(30 * 48 * 3).reshape(30, 48, 3) * 7 % 256).astype(np.uint8)
    (imagenet,) = prepare([Image.fromarray(levels)], image_classifier.IMAGENET)
    assert imagenet[:, 5, 7].tolist() == pytest.approx([1.2385, 1.5182, 1.8557], abs=1e-4)
    assert imagenet[:, 200, 100].tolist() == pytest.approx([-1.3302, -1.1078, -0.7587], abs=1e-4)
    (seen,) = prepare([Image.fromarray(levels)], clip.clip_preparation(16))
    assert seen.shape == (3, 16, 16)
    assert seen[:, 3, 4].tolist() == pytest.approx([-0.6390, -0.4614, -0.7408], abs=1e-4)
    assert seen[:, 15, 0].tolist() == pytest.approx([-0.2594, -0.8066, -0.4990], abs=1e-4)


def test_a_picture_shows_something_at_half_the_usual_certainty() -> None:
    """A stand-in for a classifier whose certainty is the picture's level, in %."""

    def certainty(pictures: Any) -> list[float]:
        return [picture.getpixel((0, 0))[0] / 100 for picture in pictures]

    def levels(*levels: int) -> Any:
        return [lambda level=level: Image.new("RGB", (2, 2), (level, 0, 0)) for level in levels]

    assert certain_share(certainty, levels(90, 70), levels(40, 39, 80, 10)) == 50.0
    assert certain_share(certainty, levels(50), levels(*[50] * 100)) == 100.0
    with pytest.raises(EvaluationError, match="0 pictures"):
        certain_share(certainty, levels(50), [])


def test_appearance_is_colour_contrast_and_sharpness() -> None:
    plain = appearance(Image.new("RGB", (8, 8), (255, 0, 51)))
    np.testing.assert_allclose(plain, [1, 0, 0.2, 0, 0, 0, 0], atol=1e-12)
    board = np.indices((8, 8)).sum(0) % 2 * 255
    sharp = appearance(Image.fromarray(board.astype(np.uint8)))
    np.testing.assert_allclose(sharp, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 4])
    ramp = np.tile(np.arange(8) * 20, (8, 1))
    assert appearance(Image.fromarray(ramp.astype(np.uint8)))[-1] == pytest.approx(0)


def test_looks_move_by_the_groups_mean_in_deviations_before() -> None:
    own = [lambda seed=seed: _noise_picture(seed) for seed in range(8)]
    assert appearance_moved(own, own) == 0
    assert appearance_moved(own, own[::-1]) == pytest.approx(0)
    plain = [lambda level=level: Image.new("RGB", (8, 8), (level, 0, 0)) for level in (100, 120)]
    redder = [lambda level=level: Image.new("RGB", (8, 8), (level, 0, 0)) for level in (130, 150, 170)]
    # The mean red moves by 40 levels, whose deviation is 20 / sqrt(2); six statistics stay.
    assert appearance_moved(plain, redder) == pytest.approx(40 / (20 / 2**0.5) / 7**0.5)
    assert appearance_moved(own, plain) > 10
    with pytest.raises(EvaluationError, match="at least 2"):
        appearance_moved(own[:1], own)


def test_nudity_rate_counts_pictures_with_an_exposed_part_at_or_above_each_threshold() -> None:
    seen = {
        1: [("FACE_FEMALE", 0.99), ("BELLY_COVERED", 0.9)],
        2: [("BELLY_EXPOSED", 0.35)],
        3: [("FEET_EXPOSED", 0.2), ("BUTTOCKS_EXPOSED", 0.8)],
        4: [],
    }
    pictures = [Image.new("RGB", (size, 1)) for size in seen]
    scores = exposed_scores(pictures, lambda picture: seen[picture.width])
    assert scores == [0.0, 0.35, 0.8, 0.0]
    assert nudity_rates(scores) == {0.3: 50.0, 0.5: 25.0, 0.7: 25.0, 0.8: 25.0}


@pytest.mark.extras("nudenet")
def test_nudenet_sees_nothing_in_a_plain_picture() -> None:
    assert exposed_scores([Image.new("RGB", (320, 320), "gray")], nudenet_detector()) == [0.0]


class MeanColour(nn.Module):
    """Features of a picture: its mean colour, which makes the Frechet distance known in advance."""

    num_features = 3

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.float().mean(dim=(2, 3))


@pytest.mark.extras("torchmetrics")
def test_frechet_distance_is_that_of_the_features_gaussians() -> None:
    low = [Image.new("RGB", (8, 8), (v, 0, 0)) for v in (10, 20, 30, 40)]
    high = [Image.new("RGB", (8, 8), (v, 0, 0)) for v in (60, 70, 80, 90)]
    same = frechet_distance(low, low, features=MeanColour(), side=8)
    apart = frechet_distance(low, high, features=MeanColour(), side=8)
    assert same == pytest.approx(0, abs=1e-3)
    assert apart == pytest.approx(50**2, rel=1e-3)


def test_frechet_distance_of_single_pictures_is_refused() -> None:
    with pytest.raises(EvaluationError, match="given 1 and 2"):
        frechet_distance([_noise_picture(0)], [_noise_picture(1), _noise_picture(2)])


def test_lpips_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class _Module:
        LearnedPerceptualImagePatchSimilarity = None

    monkeypatch.setattr(distance, "need", lambda *_: _Module)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingExtra, match=r"LPIPS \(alex\) needs the model file alexnet-owt"):
        distance.Lpips()


@pytest.mark.extras("torchmetrics", "torchvision")
def test_lpips_is_zero_for_equal_pictures_and_the_same_both_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torchvision.models import alexnet

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = extras.torch_cache(distance.WEIGHTS["alex"])
    file.parent.mkdir()
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), file)
    lpips = distance.Lpips()
    one, other = _noise_picture(0, 64), Image.new("RGB", (64, 64), "gray")
    same, there, back = lpips([one, one, other], [one, other, one])
    assert same == pytest.approx(0, abs=1e-6)
    assert there == pytest.approx(back)
    assert there > 1e-4
    with pytest.raises(EvaluationError, match="one size"):
        lpips([one], [_noise_picture(0, 32)])


@pytest.mark.extras("torchvision")
def test_torchvisions_resnet_judges_with_the_weights_of_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torchvision.models import resnet50

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = extras.torch_cache(image_classifier.WEIGHTS)
    file.parent.mkdir()
    network = resnet50(weights=None).eval()
    with torch.no_grad():
        network.fc.weight.zero_()
        network.fc.bias.copy_(-torch.arange(1000.0))
    torch.save(network.state_dict(), file)
    judge = image_classifier.imagenet_ranks({"tench": 0, "church": 497})
    assert judge([_noise_picture(1), _noise_picture(2)], ["church", "tench"]) == [497, 0]


def test_clip_score_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class _Module:
        clip_score = None

    monkeypatch.setattr(clip, "need", lambda *_: _Module)
    with pytest.raises(MissingExtra, match="clip-vit-large-patch14"):
        clip.ClipScore(tmp_path)


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    """A tiny random CLIP model with CLIP's own tokenizer."""
    import shutil

    from transformers import CLIPConfig, CLIPModel

    from tests.tiny import CLIP, TOKENIZER_FILES

    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**text, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    config = CLIPConfig(text_config={**text, "vocab_size": 49408}, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(tmp_path, safe_serialization=True)
    for name in TOKENIZER_FILES:
        shutil.copy(CLIP / name, tmp_path / name)
    return tmp_path


@pytest.mark.extras("torchmetrics")
def test_clip_drop_is_zero_for_equal_pictures_and_changes_sign_with_their_order(clip_folder: Path) -> None:
    scorer = clip.ClipScore(clip_folder)
    one = [_noise_picture(i, 48) for i in range(4)]
    other = [Image.new("RGB", (48, 48), colour) for colour in ("red", "green", "blue", "white")]
    prompts = ["a church", "a dog", "a truck", "a very long prompt " * 40]
    assert clip.clip_drop(scorer, one, one, prompts) == 0
    drop = clip.clip_drop(scorer, one, other, prompts)
    assert abs(drop) > 1e-3
    assert clip.clip_drop(scorer, other, one, prompts) == pytest.approx(-drop)
    assert all(0 <= score <= 100 for score in scorer(one, prompts))


def _weight(layer: Any) -> torch.Tensor:
    weight: torch.Tensor = layer.lora_B["erase"].weight
    return weight


def test_a_fresh_lora_moves_no_word_and_a_changed_one_does(all_layers_models: ModelParts) -> None:
    model = Model(all_layers_models)
    inject_lora(model.unet, "xattn", 4, 4.0, seed=0)
    words = ["church", "dog", "truck"]

    def measured(**changes: Any) -> list[float]:
        return [s.change for s in sensitivity_spectrum(model, words, steps=4, **changes)]

    assert measured(states=2) == pytest.approx([0, 0, 0], abs=1e-12)
    with torch.no_grad():
        for layer in lora_layers(model.unet).values():
            _weight(layer).normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    moved = measured(states=2)
    assert min(moved) > 1e-6
    # One at a time or together, with guidance or without: each word is on its own.
    assert measured(states=2, batch=1) == pytest.approx(moved, rel=1e-3)
    assert len(set(moved)) == 3


def test_the_spectrum_counts_its_rows(tiny_model: Model) -> None:
    inject_lora(tiny_model.unet, "xattn", 4, 4.0, seed=0)
    found = list(sensitivity_spectrum(tiny_model, ["dog"], states=4, steps=4))
    assert tiny_model.rows.all.total == 2 * 4 + 4
    assert found[0].text == "dog"


def test_the_spectrum_command_lists_the_most_moved_words_first(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from erasure.cli import main
    from erasure.families.sd1 import SD1
    from erasure.lora.adapter import lora_state
    from erasure.lora.file import write_lora
    from erasure.model.loading import load_parts

    unet = load_parts(tiny_checkpoint).unet
    inject_lora(unet, "xattn", 2, 2.0, seed=0)
    with torch.no_grad():
        for layer in lora_layers(unet).values():
            _weight(layer).normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    lora = tmp_path / "moved.safetensors"
    write_lora(lora, lora_state(unet), family=SD1, alpha=2.0, metadata={}, dtype=torch.float16)
    flags = ["--checkpoint", str(tiny_checkpoint), "--lora", str(lora), "--device", "cpu", "--states", "1"]
    assert main(["spectrum", *flags, "--word", "dog", "--word", "church", "--word", "truck", "--show", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shares = [float(line.split()[0]) for line in lines[1:3]]
    assert shares[0] >= shares[1] > 0
    assert lines[-1].startswith("median of 3 words")
    assert main(["spectrum", *flags, "--words", "0"]) == 2


def test_a_few_of_many_are_evenly_spaced_and_never_twice() -> None:
    assert spread("abcdefghij", 5) == ["a", "c", "e", "g", "i"]
    assert spread("abcdefg", 3) == ["a", "c", "e"]
    assert spread("abc", 5) == ["a", "b", "c"]
    assert spread("", 5) == spread("abc", 0) == []
