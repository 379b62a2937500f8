"""The reader of safetensors headers: what it takes, and every damage by name; the hashes of files of weights."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from erasure.errors import LoraFileError, RunError
from erasure.file_hashes import sha256_of_files, short_hash_of_bytes, short_hash_of_file
from erasure.lora.file import read_lora
from erasure.run.state import load_state, save_state
from erasure.safetensors_file import DamagedFile, read_header, read_tensors

TWO: dict[str, Any] = {
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "F32", "shape": [1, 1], "data_offsets": [8, 12]},
}


def file_of(path: Path, header: object, data: int = 12) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    return path


def test_a_sound_header_is_what_safetensors_wrote(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2, 3), "b": torch.zeros(0, 4, dtype=torch.float16), "c": torch.tensor(1)}
    save_file(tensors, tmp_path / "x.safetensors", {"said": "much"})
    header = read_header(tmp_path / "x.safetensors")
    assert header.shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert header.dtypes == {"a": "F32", "b": "F16", "c": "I64"}
    assert header.metadata == {"said": "much"}
    read = read_tensors(tmp_path / "x.safetensors", ["a", "c"])
    assert read.keys() == {"a", "c"}
    assert all(torch.equal(read[name], tensors[name]) for name in read)


def test_a_large_file_is_read_in_parts_but_not_from_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, path = {name: torch.randn(3) for name in "abc"}, tmp_path / "x.safetensors"
    save_file(tensors, path)
    monkeypatch.setattr("erasure.safetensors_file._MOST_MAPPED", 1)
    read = read_tensors(path, ["c", "a", "b"])
    assert list(read) == ["c", "a", "b"]
    assert all(torch.equal(read[name], tensors[name]) for name in read)

    def replaced(*arguments: Any, **keywords: Any) -> Any:
        opened = safe_open(*arguments, **keywords)
        save_file(tensors, tmp_path / "other.safetensors")
        (tmp_path / "other.safetensors").replace(path)
        return opened

    monkeypatch.setattr("safetensors.safe_open", replaced)
    with pytest.raises(DamagedFile, match="it was replaced while it was read"):
        read_tensors(path, ["a", "b"])
    assert read_tensors(path, ["a"]).keys() == {"a"}


def changed(name: str, **values: object) -> dict[str, Any]:
    return {**TWO, name: {**TWO[name], **values}}


DAMAGES: dict[str, tuple[object, int, str]] = {
    "a gap": (changed("b", data_offsets=[9, 13]), 13, "damaged header at 'b'"),
    "an overlap": (changed("b", data_offsets=[4, 8]), 8, "damaged header at 'b'"),
    "a wrong length": (changed("a", shape=[3]), 12, "damaged header at 'a'"),
    "a negative shape": (changed("a", shape=[-2], data_offsets=[0, -8]), 12, "damaged header at 'a'"),
    "no place": ({"a": {"dtype": "F32", "shape": [2]}}, 12, "damaged header at 'a'"),
    "no table": ({"a": 3}, 12, "damaged header at 'a'"),
    "an infinite place": (changed("a", data_offsets=[0, float("inf")]), 12, "Infinity is not a whole number"),
    "metadata that are none": ({**TWO, "__metadata__": [1]}, 12, "metadata cannot be read"),
    "a list": ([1, 2], 12, "lists no tensors"),
    "too few bytes": (TWO, 11, "truncated"),
    "too many bytes": (TWO, 15, "3 bytes follow"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_named(damage: str, tmp_path: Path) -> None:
    header, data, what = DAMAGES[damage]
    with pytest.raises(DamagedFile, match=what):
        read_header(file_of(tmp_path / "x.safetensors", header, data))


@pytest.mark.parametrize("damage", DAMAGES)
def test_loras_and_states_are_checked_as_checkpoints_are(damage: str, tmp_path: Path) -> None:
    header, data, what = DAMAGES[damage]
    path = file_of(tmp_path / "x.safetensors", header, data)
    with pytest.raises(LoraFileError, match=rf"x\.safetensors is .*{what}"):
        read_lora(path)
    with pytest.raises(RunError, match=rf"the state x\.safetensors cannot be read: .*{what}"):
        load_state(path)


def test_a_web_page_in_place_of_a_lora_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.safetensors").write_text("<!doctype html><title>Log in</title>" * 50, encoding="utf-8")
    with pytest.raises(LoraFileError, match="it is a web page, not the weights"):
        read_lora(tmp_path / "page.safetensors")


def test_a_state_comes_back(tmp_path: Path) -> None:
    save_state(tmp_path / "state.safetensors", {"w": torch.arange(3.0)}, {"step": 7})
    tensors, meta = load_state(tmp_path / "state.safetensors")
    assert torch.equal(tensors["w"], torch.arange(3.0))
    assert meta == {"step": 7}
    with pytest.raises(RunError, match=r"none\.safetensors cannot be read"):
        load_state(tmp_path / "none.safetensors")


def test_hashes_of_files_and_bytes_agree(tmp_path: Path) -> None:
    data = bytes(i % 251 for i in range(0x120000))
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(b"more")
    assert sha256_of_files([tmp_path / "a", tmp_path / "b"]) == hashlib.sha256(data + b"more").hexdigest()
    assert sha256_of_files([tmp_path / "a"], 1000) == hashlib.sha256(data[1000:]).hexdigest()
    assert short_hash_of_file(tmp_path / "a") == short_hash_of_bytes(data)
    assert short_hash_of_bytes(data) == hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]
