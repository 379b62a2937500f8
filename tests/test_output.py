"""The place of the result is checked before anything is loaded, and what is wrong with it names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from erasure.cli import main
from erasure.errors import OutputExists, OutputRefused
from erasure.run.output import check_output


@pytest.fixture
def _unread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No checkpoint is opened, and the working folder is one's own."""
    monkeypatch.chdir(tmp_path)

    def read(path: Path) -> None:
        raise AssertionError(f"{path} was read before the output was checked")

    monkeypatch.setattr("erasure.run.beginning.inspect_checkpoint", read)
    monkeypatch.setattr("erasure.model.checkpoint.inspect_checkpoint", read)


NAMES = [
    ("nowhere/x.safetensors", "'nowhere', which does not exist", "nowhere/x.safetensors"),
    ("x.ckpt", "must end in .safetensors", "x.ckpt"),
    ("x", "must end in .safetensors", "x"),
    ("", "must end in .safetensors", "."),
    ("folder.safetensors", "is a folder", "folder.safetensors"),
    ("file.safetensors/x.safetensors", "which does not exist", "file.safetensors/x.safetensors"),
    ("file.safetensors", "exists", "file.safetensors"),
    ("n" * 240 + ".safetensors", "too long", "nnn"),
    ("n" * 300 + ".safetensors", "too long", "nnn"),
    ("x\0.safetensors", "cannot be a name of a file", "x"),
    ("x\udcff.safetensors", "is not valid text", "x"),
]


@pytest.mark.usefixtures("_unread")
@pytest.mark.parametrize("flag", ["--checkpoint", "--vae"])
@pytest.mark.parametrize("read", ["model.safetensors", "folder"])
def test_what_a_run_reads_is_not_overwritten_even_if_asked(
    flag: str, read: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "folder" / "unet" / "x.safetensors" if read == "folder" else tmp_path / read
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(b"weights")
    given = {"--checkpoint": "other.safetensors", flag: read, "--out": str(out), "--device": "cpu", "--erase": "church"}
    assert main(["train", "--overwrite", *(text for pair in given.items() for text in pair)]) == 2
    assert "is read as well" in capsys.readouterr().err
    assert out.read_bytes() == b"weights"


@pytest.mark.usefixtures("_unread")
@pytest.mark.parametrize(("name", "reason", "shown"), NAMES, ids=range(len(NAMES)))
def test_train_refuses_an_output_that_cannot_be_written(
    name: str, reason: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder.safetensors").mkdir()
    Path("file.safetensors").write_bytes(b"mine")
    assert main(["train", "--erase", "church", "--device", "cpu", "--checkpoint", "c", "--out", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason.replace("'", "") in line
    assert shown in line
    assert sorted(map(str, Path().iterdir())) == ["file.safetensors", "folder.safetensors"]
    assert Path("file.safetensors").read_bytes() == b"mine"


@pytest.mark.usefixtures("_unread")
@pytest.mark.parametrize("name", ["nowhere/x.png", "x.jpg", "n" * 300 + ".png"])
def test_preview_refuses_an_output_that_cannot_be_written(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["preview", "--checkpoint", "c", "--lora", "l", "--prompt", "a church", "--device", "cpu", "--out", name]
    assert main(given) == 2
    assert name[:20] in capsys.readouterr().err


def test_a_disk_that_refuses_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def touch(path: Path, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", touch)
    with pytest.raises(OutputRefused, match=r"x\.safetensors cannot be written: Read-only file system"):
        check_output(tmp_path / "x.safetensors", overwrite=False)


def test_a_good_place_is_left_as_it_was(tmp_path: Path) -> None:
    check_output(tmp_path / "x.safetensors", overwrite=False)
    assert not list(tmp_path.iterdir())
    (tmp_path / "x.safetensors").write_bytes(b"mine")
    with pytest.raises(OutputExists):
        check_output(tmp_path / "x.safetensors", overwrite=False)
    check_output(tmp_path / "x.safetensors", overwrite=True)
    check_output(tmp_path / "x.PNG", overwrite=False, suffix=".png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_run_folder_that_cannot_be_made_is_refused_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"")
    given = ["train", "--erase", "church", "--device", "cpu", "--checkpoint", str(tiny_checkpoint)]
    for place in ("file", "n" * 300):
        assert main([*given, "--out", str(tiny_checkpoint.parent / "x.safetensors"), "--run", place]) == 2
        assert f"the run folder {place}" in capsys.readouterr().err
