"""The stand-alone host: checkpoints, pictures with and without LoRA files, and one user of the device at a time."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import torch

from erasure.errors import EraseError, LoraFileError, RunError
from erasure.families.sd1 import SD1
from erasure.host.base import TextToImage
from erasure.host.local import LocalHost
from erasure.host.lora_prompt import find_lora, split_prompt
from erasure.jobs.lora_files import lora_names
from erasure.jobs.names import taken_names
from erasure.lora.adapter import inject_lora, lora_layers, lora_state
from erasure.lora.file import write_lora
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.drawing import difference
from erasure.model.parts import ModelParts


def picture(prompt: str, **changes: object) -> TextToImage:
    return TextToImage(**{"prompt": prompt, "steps": 2, "guidance": 3.0, **changes})  # type: ignore[arg-type]


@pytest.fixture
def host(tiny_checkpoint: Path, tmp_path: Path) -> LocalHost:
    return LocalHost(tiny_checkpoint, tmp_path / "data", "cpu")


@pytest.fixture
def lora(host: LocalHost, tiny_models: ModelParts) -> Path:
    """A LoRA file with random weights in a sub-folder of the host's Lora folder."""
    inject_lora(tiny_models.unet, "xattn", 2, 1.0, 0)
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(value.shape, generator=generator) for key, value in lora_state(tiny_models.unet).items()}
    path = host.lora_folder() / "mine" / "random.safetensors"
    path.parent.mkdir(parents=True)
    write_lora(path, state, family=SD1, alpha=1.0, metadata={}, dtype=torch.float32)
    return path


def test_a_checkpoint_file_is_the_current_one(host: LocalHost, tiny_checkpoint: Path) -> None:
    current = host.current_checkpoint()
    assert current is not None
    assert current.path == tiny_checkpoint
    assert host.checkpoints() == [current]


def test_a_new_checkpoint_lies_beside_its_base_or_among_the_data_and_is_offered(
    tmp_path: Path, host: LocalHost, tiny_checkpoint: Path
) -> None:
    folder = host.folder_for_new(tiny_checkpoint)
    assert folder == tmp_path / "data" / "checkpoints"
    shutil.copy(tiny_checkpoint, folder / tiny_checkpoint.name)
    titles = [checkpoint.title for checkpoint in host.checkpoints()]
    assert titles == [tiny_checkpoint.name, f"checkpoints/{tiny_checkpoint.name}"]
    models = tmp_path / "models"
    models.mkdir()
    assert LocalHost(models, tmp_path / "other").folder_for_new(models / "sub" / "a.ckpt") == models / "sub"


def test_emoji_sd_is_the_default(tmp_path: Path) -> None:
    current = LocalHost(None, tmp_path).current_checkpoint()
    assert current is not None
    assert current.path.name == "emoji-sd.safetensors"
    assert current.path.is_file()


def test_a_folder_offers_files_and_diffusers_folders_but_not_their_parts(
    tmp_path: Path, tiny_checkpoint: Path, tiny_diffusers_folder: Path
) -> None:
    models = tmp_path / "models"
    (models / "sub").mkdir(parents=True)
    shutil.copy(tiny_checkpoint, models / "sub" / "b.safetensors")
    (models / "a.ckpt").write_bytes(b"")
    (models / "c.vae.safetensors").write_bytes(b"")
    (models / "notes.txt").write_text("no checkpoint")
    shutil.copytree(tiny_diffusers_folder, models / "folder")
    host = LocalHost(models, tmp_path / "data")
    assert [checkpoint.title for checkpoint in host.checkpoints()] == ["a.ckpt", "folder", "sub/b.safetensors"]


def test_checkpoints_and_loras_are_found_through_links(
    tiny_checkpoint: Path, tiny_diffusers_folder: Path, host: LocalHost, lora: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "disk").symlink_to(tiny_checkpoint.parent, target_is_directory=True)
    (models / "folder").symlink_to(tiny_diffusers_folder, target_is_directory=True)
    (models / "one.safetensors").symlink_to(tiny_checkpoint)
    (models / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    offered = LocalHost(models, tmp_path / "data", "cpu").checkpoints()
    assert [one.title for one in offered] == ["disk/tiny.safetensors", "folder", "one.safetensors"]
    assert inspect_checkpoint(models / "folder").name == "folder"
    lora.parent.rename(tmp_path / "elsewhere")
    (host.lora_folder() / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert find_lora(host.lora_folder(), "random") == host.lora_folder() / "linked" / "random.safetensors"
    assert lora_names(host.lora_folder()) == ["linked/random"]
    assert taken_names(host.lora_folder()) == {"random"}


def test_selecting_a_checkpoint_makes_it_the_current_one(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(b"")
    host = LocalHost(tmp_path, tmp_path / "data")
    host.select("b.safetensors")
    assert host.current_checkpoint().path.name == "b.safetensors"  # type: ignore[union-attr]
    with pytest.raises(RunError, match=r"c\.safetensors.*choose one of a\.safetensors"):
        host.select("c.safetensors")


def test_an_empty_folder_has_no_current_checkpoint_and_draws_nothing(tmp_path: Path) -> None:
    host = LocalHost(tmp_path, tmp_path / "data", "cpu")
    assert host.current_checkpoint() is None
    with pytest.raises(RunError, match="no checkpoint"):
        host.draw(picture("a dog"))


def test_a_seed_gives_the_same_picture_and_another_seed_another(host: LocalHost) -> None:
    first = host.draw(picture("a dog", seed=5))
    assert difference(first, host.draw(picture("a dog", seed=5))) == 0
    assert difference(first, host.draw(picture("a dog", seed=6))) > 1
    assert first.size == (64, 64)
    assert host.draw(picture("a dog", size=128)).size == (128, 128)


def test_a_negative_prompt_changes_the_picture(host: LocalHost) -> None:
    plain = host.draw(picture("a dog"))
    assert difference(plain, host.draw(picture("a dog", negative="a cat"))) > 0


def test_a_lora_in_the_prompt_changes_the_picture_and_leaves_the_model_as_it_was(host: LocalHost, lora: Path) -> None:
    plain = host.draw(picture("a dog"))
    full = host.draw(picture("a dog <lora:random:1>"))
    assert difference(plain, full) > 1
    assert difference(plain, host.draw(picture("a dog <lora:random:0>"))) == 0
    assert difference(plain, host.draw(picture("a dog"))) == 0
    assert host._loaded is not None
    assert not lora_layers(host._loaded.model.unet)


def test_two_loras_add_up(host: LocalHost, lora: Path) -> None:
    shutil.copy(lora, lora.with_name("again.safetensors"))
    double = host.draw(picture("a dog <lora:random:0.75>"))
    both = host.draw(picture("a <lora:random:0.5>dog <lora:again:0.25>"))
    assert difference(double, both) < 0.1
    assert difference(double, host.draw(picture("a dog <lora:random:0.5>"))) > 0.5


def test_an_unknown_lora_is_refused_with_those_that_exist(host: LocalHost, lora: Path) -> None:
    with pytest.raises(LoraFileError, match=r"no LoRA called 'none-such'.*random"):
        host.draw(picture("a dog <lora:none-such:1>"))


def test_a_name_with_a_path_finds_nothing_outside_of_the_folder(host: LocalHost, lora: Path) -> None:
    shutil.copy(lora, host.data_folder() / "outside.safetensors")
    with pytest.raises(LoraFileError):
        host.draw(picture("<lora:../outside:1>"))


@pytest.mark.parametrize(
    ("prompt", "plain", "tags"),
    [
        ("a dog", "a dog", []),
        ("a dog <lora:x>", "a dog", [("x", 1.0)]),
        ("<lora:x:-0.5> a dog", "a dog", [("x", -0.5)]),
        ("<lora:x:1:0.25>", "", [("x", 0.25)]),
        ("<lora:x:1:unet=0.75>", "", [("x", 0.75)]),
        ("<lora:x:0.5:te=0.75>", "", [("x", 0.5)]),
        ("a <hypernet:y:1> <lora:x:1>", "a <hypernet:y:1>", [("x", 1.0)]),
    ],
)
def test_lora_tags_are_read_as_the_web_ui_does(prompt: str, plain: str, tags: list[tuple[str, float]]) -> None:
    assert split_prompt(prompt) == (plain, tags)


def test_a_weight_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(LoraFileError, match="'strong', which is not a number"):
        split_prompt("<lora:x:strong>")


@pytest.mark.parametrize("changes", [{"steps": 0}, {"steps": 1001}, {"size": 100}, {"size": -8}])
def test_impossible_pictures_are_refused_before_anything_is_loaded(host: LocalHost, changes: dict[str, int]) -> None:
    with pytest.raises(EraseError):
        host.draw(picture("a dog", **changes))
    assert host._loaded is None


def test_a_picture_waits_while_the_device_is_held(host: LocalHost) -> None:
    drawn = threading.Event()

    def draw() -> None:
        host.draw(picture("a dog"))
        drawn.set()

    with host.exclusive("Erasing dog"):
        thread = threading.Thread(target=draw)
        thread.start()
        assert not drawn.wait(0.3)
    assert drawn.wait(30)
    thread.join()


def test_an_error_inside_releases_the_device(host: LocalHost) -> None:
    with pytest.raises(ZeroDivisionError), host.exclusive("Erasing dog"):
        raise ZeroDivisionError
    taken = threading.Event()

    def take() -> None:
        with host.exclusive("again"):
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    assert taken.wait(5)


def test_a_model_on_a_gpu_is_dropped_while_the_device_is_held(host: LocalHost) -> None:
    plain = host.draw(picture("a dog"))
    host._device = "cuda"
    with host.exclusive("Erasing dog"):
        assert host._loaded is None
    host._device = "cpu"
    assert difference(plain, host.draw(picture("a dog"))) == 0
