"""Checkpoints whose configuration, tokenizer or tensors ask for what no model has: each kind by its right outcome."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from erasure.errors import BrokenCheckpoint, EraseError
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.loading import load_parts
from erasure.model.weights_file import open_weights
from tests.hostile.limits import limits
from tests.test_bounds import short, zipped

not_windows = pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs")


# --- tensors


def test_keys_that_cannot_be_looked_up_are_left_out(tmp_path: Path) -> None:
    tensor = torch.ones(2)
    torch.save({"a": tensor, ("b", 1): tensor, 3: tensor, None: 1, 2.5: 2}, tmp_path / "model.ckpt")
    weights = open_weights(tmp_path / "model.ckpt")
    assert dict(weights.shapes) == {"a": (2,)}
    assert weights.others == {"3", "?"}
    zipped(tmp_path / "list.ckpt", b"\x80\x02}]K\x01s.")
    assert open_weights(tmp_path / "list.ckpt").others == {"?"}


def test_tensors_larger_than_their_file_are_refused(tmp_path: Path) -> None:
    shared = torch.zeros(100_000)
    torch.save({f"w{number}": shared for number in range(100)}, tmp_path / "model.ckpt")
    with pytest.raises(BrokenCheckpoint, match="its weights are larger than the file"):
        open_weights(tmp_path / "model.ckpt")


# --- yaml


@pytest.fixture
def with_yaml(tiny_checkpoint: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Put a yaml beside a sound checkpoint, and return the checkpoint."""

    def write(text: str) -> Path:
        path = tmp_path / "model.safetensors"
        if not path.exists():
            shutil.copy(tiny_checkpoint, path)
            shutil.copytree(tiny_checkpoint.parent / "tiny-text", tmp_path / "tiny-text")
        path.with_suffix(".yaml").write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("way", "value", "what"),
    [
        ("image_size", 10**12, "do not give a picture size"),
        ("image_size", [8], "is \\[8\\], not a positive number"),
        ("scale_factor", float("inf"), "not a positive number"),
        ("scale_factor", 10**400, "not a positive number"),
        ("linear_end", {"a": 1}, "not a positive number"),
        ("unet_config.params.num_res_blocks", 10**6, "too many layers"),
        ("unet_config.params.model_channels", 10**9, "model_channels is not a number that a model can have"),
        ("unet_config.params.channel_mult", [1] * 3000, "too many layers"),
        ("unet_config.params.num_heads", "four", "num_heads is four"),
        ("first_stage_config.params.ddconfig.ch_mult", 5, "do not give a picture size"),
        ("cond_stage_config.params.version", "x" * 5000, "cannot be read|lacks"),
        ("cond_stage_config.params", 3.5, "."),
    ],
)
def test_a_yaml_with_impossible_values_is_refused(
    way: str, value: Any, what: str, with_yaml: Callable[[str], Path], tiny_checkpoint: Path
) -> None:
    document = yaml.safe_load(tiny_checkpoint.with_suffix(".yaml").read_text(encoding="utf-8"))
    holder = document["model"]["params"]
    *names, last = way.split(".")
    for name in names:
        holder = holder[name]
    holder[last] = value
    path = with_yaml(yaml.safe_dump(document))
    with limits(), pytest.raises(BrokenCheckpoint, match=what):
        load_parts(path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "a: " + "[" * 50_000, "a: " + "x" * 200_000, "a: !!set {b}", "\x00"],
    ids=short,
)
def test_a_yaml_that_is_none_is_refused(text: str, with_yaml: Callable[[str], Path]) -> None:
    path = with_yaml(text)
    with limits(), pytest.raises(BrokenCheckpoint, match=r"model\.yaml"):
        inspect_checkpoint(path)


# --- folders and tokenizers


@pytest.fixture
def folder(tiny_diffusers_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_diffusers_folder, tmp_path / "folder"))


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"a":' * 50_000, b"\xff\xfe\xfa", b'{"a": 1e999}', b"{}" * 3_000_000],
    ids=short,
)
def test_json_of_a_folder_that_is_none_is_named(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with limits(), pytest.raises(BrokenCheckpoint, match=Path(name).name.replace(".", r"\.")):
        inspect_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "key", "value", "what"),
    [
        ("unet", "layers_per_block", 10**9, "not a number that a model can have"),
        ("unet", "layers_per_block", 5000, "too many layers"),
        ("unet", "transformer_layers_per_block", [900] * 4, "too many layers"),
        ("unet", "sample_size", 10**6, "do not give a picture size"),
        ("unet", "sample_size", [8, 8], "do not give a picture size"),
        ("unet", "in_channels", [4], "not text-to-image"),
        ("unet", "block_out_channels", "wide", "cannot be used"),
        ("unet", "act_fn", {"a": 1}, "cannot be used"),
        ("vae", "block_out_channels", [1] * 400, "."),
        ("text_encoder", "num_hidden_layers", 10**5, "too many layers"),
        ("text_encoder", "hidden_act", 5, "cannot be used"),
        ("text_encoder", "text_config", [], "."),
        ("scheduler", "trained_betas", "x", "noise schedule cannot be used"),
        ("scheduler", "beta_start", 5.0, "does not go from pictures to noise"),
    ],
)
def test_a_configuration_with_impossible_values_is_refused(
    name: str, key: str, value: Any, what: str, folder: Path
) -> None:
    path = folder / name / ("scheduler_config.json" if name == "scheduler" else "config.json")
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, key: value}), encoding="utf-8")
    with limits(), pytest.raises(EraseError, match=what):
        load_parts(folder)


def test_settings_that_do_not_build_the_text_encoder_are_left_out(folder: Path) -> None:
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "num_labels": 999_999, "id2label": {}, "auto_map": []}), encoding="utf-8")
    with limits() as taken:
        load_parts(folder)
    assert taken.megabytes < 200


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", b""),
        ("vocab.json", b'{"a": 0}'),
        ("vocab.json", b'{"a": -1}'),
        ("vocab.json", b'["a"]'),
        ("vocab.json", b'{"a":' * 50_000),
        ("vocab.json", b'{"a": 4000000000, "<|startoftext|>": 1, "<|endoftext|>": 2}'),
        ("vocab.json", b'{"' + b"a" * 9_000_000 + b'": 0}'),
        ("merges.txt", b"\xff\xfe\xff"),
        ("merges.txt", b"#version: 0.2\nqq zz\n"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b'{"model_max_length": "many"}'),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b'{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": ["a b"]}}'),
    ],
    ids=short,
)
def test_a_broken_tokenizer_is_named(name: str, content: bytes, folder: Path) -> None:
    (folder / "tokenizer" / name).write_bytes(content)
    with limits(), pytest.raises(BrokenCheckpoint, match="tokenizer"):
        load_parts(folder)


@not_windows
@pytest.mark.parametrize("name", ["added_tokens.json", "vocab.json"])
def test_a_tokenizer_with_a_fifo_in_it_is_not_waited_for(name: str, folder: Path) -> None:
    (folder / "tokenizer" / name).unlink(missing_ok=True)
    os.mkfifo(folder / "tokenizer" / name)
    with limits(), pytest.raises(BrokenCheckpoint, match="it is a FIFO, not a file"):
        load_parts(folder)
