"""A checkpoint's headers and configurations are read once, whoever asks, and again when a file has changed."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from erasure.config.values import config_from_dict
from erasure.errors import BrokenCheckpoint
from erasure.jobs.estimate import estimate
from erasure.jobs.readiness import readiness
from erasure.model import pickle_file
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.loading import load_parts
from tests.fake_host import FakeHost


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a path was opened, by its name; safetensors opens files by itself, for tensors alone."""
    counts: Counter[str] = Counter()
    plain = Path.open

    def counting(path: Path, *arguments: Any, **named: Any) -> Any:
        counts["/".join(path.parts[-2:])] += 1
        return plain(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", counting)
    return counts


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    shutil.copytree(tiny_checkpoint.parent, folder)
    return folder / tiny_checkpoint.name


def use_everywhere(checkpoint: Path, folder: Path) -> None:
    """What a form and then a run ask of a checkpoint."""
    config = config_from_dict({"erase": ["church"]})
    for _ in range(3):
        assert readiness(FakeHost(folder, checkpoint), checkpoint, "gone", config) == []
        assert estimate(config, checkpoint, "cpu", folder).bytes
    info = inspect_checkpoint(checkpoint)
    assert info.size.pixels == 64
    assert load_parts(info).info is info


def test_header_and_yaml_of_a_file_are_read_once(checkpoint: Path, tmp_path: Path, opened: Counter[str]) -> None:
    use_everywhere(checkpoint, tmp_path)
    assert (opened["models/tiny.safetensors"], opened["models/tiny.yaml"]) == (1, 1)


def test_a_pickle_is_scanned_once(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(load_file(checkpoint), checkpoint.with_suffix(".ckpt"))
    scans: list[Path] = []
    scan = pickle_file.scan

    def counted(path: Path) -> Any:
        scans.append(path)
        return scan(path)

    monkeypatch.setattr(pickle_file, "scan", counted)
    use_everywhere(checkpoint.with_suffix(".ckpt"), tmp_path)
    assert scans == [checkpoint.with_suffix(".ckpt")]


def test_configurations_of_a_folder_are_read_once(
    tiny_diffusers_folder: Path, tmp_path: Path, opened: Counter[str]
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(tiny_diffusers_folder, folder)
    opened.clear()
    use_everywhere(folder, tmp_path)
    files = [f"{part}/config.json" for part in ("unet", "vae", "text_encoder")]
    files += ["folder/model_index.json", "scheduler/scheduler_config.json", "text_encoder/model.safetensors"]
    files += [f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")]
    assert {name: opened[name] for name in files} == dict.fromkeys(files, 1)


def test_a_changed_yaml_is_read_again(checkpoint: Path) -> None:
    assert inspect_checkpoint(checkpoint).size.pixels == 64
    path = checkpoint.with_suffix(".yaml")
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["model"]["params"]["image_size"] = 16
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert inspect_checkpoint(checkpoint).size.pixels == 128
    path.unlink()
    assert inspect_checkpoint(checkpoint).size.pixels == 512


def test_a_replaced_file_is_read_again(checkpoint: Path) -> None:
    inspect_checkpoint(checkpoint)
    before = checkpoint.stat()
    data = bytearray(checkpoint.read_bytes())
    data[8:10] = b"}{"
    checkpoint.write_bytes(data)
    os.utime(checkpoint, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    with pytest.raises(BrokenCheckpoint, match="damaged header"):
        inspect_checkpoint(checkpoint)


def test_a_text_folder_that_went_away_is_missed(checkpoint: Path) -> None:
    inspect_checkpoint(checkpoint)
    shutil.rmtree(checkpoint.with_name("tiny-text"))
    with pytest.raises(BrokenCheckpoint, match="which lacks"):
        inspect_checkpoint(checkpoint)


def test_a_changed_folder_is_read_again(tiny_diffusers_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(tiny_diffusers_folder, folder)
    inspect_checkpoint(folder)
    (folder / "unet" / "config.json").unlink()
    with pytest.raises(BrokenCheckpoint, match=r"config\.json"):
        inspect_checkpoint(folder)
