"""Pickled files: hostile ones run nothing, real ones are read tensor by tensor."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.model import pickle_file
from erasure.model.weights_file import open_weights, read_tensors

# Programs in the pickle language, each of which makes the folder FOLDER when an ordinary unpickler runs it.
PROGRAMS = {
    "REDUCE": b"\x80\x02cos\nmkdir\nX\x06\x00\x00\x00FOLDER\x85R.",
    "REDUCE through eval": (b"\x80\x02cbuiltins\neval\nX\x23\x00\x00\x00__import__('os').mkdir('FOLDER')   \x85R."),
    "INST": b"(S'FOLDER'\nios\nmkdir\n.",
    "OBJ": b"\x80\x02(cos\nmkdir\nX\x06\x00\x00\x00FOLDERo.",
    "NEWOBJ": b"\x80\x02cos\nmkdir\nX\x06\x00\x00\x00FOLDER\x85\x81.",
    "NEWOBJ and BUILD": b"\x80\x02cos\nmkdir\n)\x81}X\x01\x00\x00\x00aK\x01sb.",
    "BUILD on a class": b"\x80\x02ccollections\nOrderedDict\nN}X\x05\x00\x00\x00itemsK\x01s\x86b.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x06FOLDER\x85R.",
    "attribute of a module": b"\x80\x04\x8c\x02os\x8c\x0dpath.os.mkdir\x93\x8c\x06FOLDER\x85R.",
}


def archive(path: Path, program: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/version", b"3\n")
    return path


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_pickle_runs_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the pickle ran")

    path = archive(tmp_path / "model.ckpt", PROGRAMS[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "mkdir", forbidden)
    monkeypatch.setattr(builtins, "eval", forbidden)
    with pytest.raises(BrokenCheckpoint):  # none of them is a table of weights
        open_weights(path)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if "BUILD" not in name and name != "NEWOBJ"])
def test_the_hostile_pickles_are_live(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(PROGRAMS[name])
    assert (tmp_path / "FOLDER").is_dir()


def test_a_hostile_object_inside_a_table_is_stepped_over(tmp_path: Path) -> None:
    program = b"\x80\x02}X\x01\x00\x00\x00acos\nmkdir\nX\x06\x00\x00\x00FOLDER\x85Rs."
    weights = open_weights(archive(tmp_path / "model.ckpt", program))
    assert (dict(weights.shapes), weights.others) == ({}, frozenset({"a"}))


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_are_read_as_they_were_saved(legacy: bool, tmp_path: Path) -> None:
    """Views, transposes, shared storages, parameters and every number type."""
    base = torch.arange(24.0).reshape(4, 6)
    saved = {
        "whole": base,
        "row": base[2],
        "turned": base.T,
        "inner": base[1:3, 2:5],
        "scalar": torch.tensor(7.0),
        "none": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "long": base.long(),
        "bool": base > 4,
    }
    path = tmp_path / "model.ckpt"
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    read = read_tensors(open_weights(path), saved)
    assert read.keys() == saved.keys()
    for name, tensor in saved.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_a_tensor_that_reaches_over_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"weight": torch.zeros(3)}, path)
    data = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(data, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith("data.pkl"):
                assert content.count(b"K\x03\x85") == 1  # its shape, (3,)
                content = content.replace(b"K\x03\x85", b"K\x63\x85")
            new.writestr(item.filename, content)
    path.write_bytes(data.getvalue())
    with pytest.raises(BrokenCheckpoint, match="lacks the weights of weight"):
        open_weights(path)


def test_a_torchscript_program_is_refused_by_name(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.pt", pickle.dumps({}))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/constants.pkl", b"")
    with pytest.raises(UnsupportedCheckpoint, match="TorchScript"):
        open_weights(path)


@pytest.mark.parametrize("names", [[], ["a.txt"], ["a/data.pkl", "b/data.pkl"]])
def test_another_zip_archive_is_refused_by_name(names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"")
    with pytest.raises(BrokenCheckpoint, match="zip archive"):
        pickle_file.scan(path)
