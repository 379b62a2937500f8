"""What ``inspect`` says of checkpoints: what is baked into them, and nothing of those that do not say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from erasure.bake.baking import bake
from erasure.bake.explain import is_checkpoint
from erasure.bake.label import BAKED_KEY
from erasure.bake.task import bake_task
from erasure.cli import main
from erasure.file_hashes import sha256_of_files
from erasure.lora.relabel import copy_with_metadata
from tests.loras import random_lora


def baked(checkpoint: Path, out: Path, *loras: tuple[Path, float]) -> Path:
    for _ in bake(bake_task(checkpoint, loras, out)):
        pass
    return out


@pytest.fixture(scope="module")
def church(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_lora(tmp_path_factory.mktemp("church") / "church.safetensors", {"erase": ["church"]}, strength=0.1)


@pytest.fixture(scope="module")
def truck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("truck") / "truck.safetensors"
    return random_lora(file, {"erase": ["garbage truck"]}, strength=0.1)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, church: Path, truck: Path) -> Path:
    """A checkpoint into which was baked twice: one LoRA, and then another at a weight of its own."""
    folder = tmp_path_factory.mktemp("baked")
    first = baked(tiny_checkpoint, folder / "first.safetensors", (church, 1.0))
    return baked(first, folder / "both.safetensors", (truck, 0.8))


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["inspect", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_every_bake_is_told_with_base_loras_weights_and_hashes(
    both: Path, tiny_checkpoint: Path, church: Path, truck: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, both).splitlines()
    assert lines[0].startswith("both.safetensors: Stable Diffusion 1.x checkpoint, ")
    told = [line for line in lines if line.startswith("baked in on ")]
    assert f"into tiny, sha256 {sha256_of_files([tiny_checkpoint])}:" in told[0]
    assert ", into first, sha256 " in told[1]
    assert f"  church (weight 1, erases church), sha256 {sha256_of_files([church])}" in lines
    assert f"  truck (weight 0.8, erases garbage truck), sha256 {sha256_of_files([truck])}" in lines
    assert "erases: 'church', 'garbage truck'" in lines
    assert any(line.startswith("content hash: ok (") for line in lines)


def test_json_holds_the_same(both: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = json.loads(said(capsys, both, "--json", "--checkpoint", tiny_checkpoint))
    assert (values["file"], values["whole"], values["problems"]) == ("both.safetensors", True, [])
    assert [(each["base"], each["loras"][0]["weight"]) for each in values["baked"]] == [("tiny", 1.0), ("first", 0.8)]
    assert values["erases"] == ["church", "garbage truck"]
    assert values["base_check"]["same"] is True
    assert str(both.parent) not in json.dumps(values)


def test_a_base_is_told_by_its_hash(
    both: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = both.with_name("first.safetensors")
    assert "its base: it was baked from first.safetensors (sha256" in said(capsys, both, "--checkpoint", first)
    assert "its base: it was baked from tiny.safetensors" in said(capsys, both, "--checkpoint", tiny_checkpoint)
    other = said(capsys, first, "--checkpoint", both)
    assert "its base: it was baked from tiny, which is another file than both.safetensors" in other


def test_changed_weights_are_told(both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = tmp_path / "changed.safetensors"
    data = bytearray(both.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    assert "content hash: WRONG: it says " in said(capsys, changed)
    assert json.loads(said(capsys, changed, "--json"))["whole"] is False


def test_a_negative_weight_brings_a_concept_out(
    tiny_checkpoint: Path, church: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, baked(tiny_checkpoint, tmp_path / "out.safetensors", (church, -0.5)))
    assert "erases: unknown (no LoRA in it says it)" in out
    assert "brings out: 'church' (a weight below 0)" in out


def test_a_baked_folder_is_told_by_the_files_of_its_u_net(
    tiny_diffusers_folder: Path, church: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = baked(tiny_diffusers_folder, tmp_path / "folder", (church, 1.0))
    shown = said(capsys, out)
    assert "folder: Stable Diffusion 1.x checkpoint, a diffusers folder, " in shown
    assert "  church (weight 1, erases church)" in shown
    assert "content hash of unet/diffusion_pytorch_model.safetensors: ok (" in shown
    assert "it was baked from" in said(capsys, out, "--checkpoint", tiny_diffusers_folder)
    twin = out / "unet" / "more.safetensors"
    save_file({"x": torch.zeros(1)}, twin)
    assert "problem: unet/more.safetensors does not say the same" in said(capsys, out)


def test_of_other_checkpoints_nothing_is_known(
    tiny_checkpoint: Path, tiny_diffusers_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pickle = tmp_path / "old.ckpt"
    torch.save({"state_dict": load_file(tiny_checkpoint)}, pickle)
    foreign = tmp_path / "xl.safetensors"
    names = ("model.diffusion_model.input_blocks.0.0.weight", "conditioner.embedders.1.model.ln_final.weight")
    save_file({name: torch.zeros(4, 4, 3, 3) for name in names}, foreign)
    for path in (tiny_checkpoint, tiny_diffusers_folder, pickle, foreign):
        assert "baked in: nothing is known to be baked into it" in said(capsys, path)
        assert json.loads(said(capsys, path, "--json", "--checkpoint", tiny_checkpoint))["baked"] == []
    assert "a .ckpt file has no metadata that could say it" in said(capsys, pickle)


LONG = {"base": "b" * 9000, "loras": [{"name": "n" * 9000, "weight": 1e300, "erases": ["e" * 9000]}]}


@pytest.mark.parametrize(
    "nonsense",
    [
        "{",
        "[1, 2]",
        '[{"base": 3, "loras": [{"name": "a", "weight": "much"}, 7]}]',
        '[{"base": "\\u001b[31m", "base_sha256": ["x"], "loras": {"name": "a"}}]',
        json.dumps([LONG] * 100),
    ],
)
def test_nonsense_is_bounded_and_only_text(
    tiny_checkpoint: Path, tmp_path: Path, nonsense: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.safetensors"
    copy_with_metadata(tiny_checkpoint, path, {BAKED_KEY: nonsense})
    shown = said(capsys, path)
    assert len(shown) < 100_000
    assert "\x1b" not in shown
    assert "baked in" in shown
    json.loads(said(capsys, path, "--json"))


def test_what_is_no_checkpoint_is_explained_as_a_lora(
    church: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not is_checkpoint(church)
    assert json.loads(said(capsys, church, "--json"))["erases"] == ["church"]
    vae = tmp_path / "vae.safetensors"
    save_file({"encoder.down.0.weight": torch.zeros(1)}, vae)
    for arguments in (
        [vae],
        [tmp_path / "gone.ckpt"],
        [tmp_path],
        [church, "--json", "--checkpoint", vae],
    ):
        assert main(["inspect", *map(str, arguments)]) in (1, 2)
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert told.count("\n") == 1


def test_a_checkpoint_takes_no_concept_to_measure(both: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(both), "--checkpoint", str(both), "--erase", "church"]) == 2
    assert "--erase: goes with a LoRA file" in capsys.readouterr().err
