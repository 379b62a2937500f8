from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from erasure.files.card import write_card


def _cover(folder: Path) -> Path:
    facts = PngInfo()
    facts.add_text("parameters", "a secret prompt")
    Image.new("RGB", (1600, 400), "red").save(folder / "grid.png", pnginfo=facts)
    return folder / "grid.png"


def test_a_card_has_what_web_uis_read(tmp_path: Path) -> None:
    lora = tmp_path / "gone v1.5.safetensors"
    written = write_card(lora, 'Erases "church"', "made by hand", _cover(tmp_path))
    assert [path.name for path in written] == ["gone v1.5.json", "gone v1.5.png"]
    assert json.loads(written[0].read_text(encoding="utf-8")) == {
        "description": 'Erases "church"',
        "sd version": "SD1",
        "activation text": "",
        "preferred weight": 1,
        "negative text": "",
        "notes": "made by hand",
    }
    with Image.open(written[1]) as picture:
        assert picture.size == (768, 192)
        assert picture.getpixel((5, 5)) == (255, 0, 0)
        assert picture.info == {}


def test_a_card_that_is_there_is_left_alone(tmp_path: Path) -> None:
    lora = tmp_path / "gone.safetensors"
    (tmp_path / "gone.json").write_text("mine")
    (tmp_path / "gone.png").write_bytes(b"mine too")
    assert write_card(lora, "Erases church", cover=_cover(tmp_path)) == []
    assert (tmp_path / "gone.json").read_text() == "mine"
    assert (tmp_path / "gone.png").read_bytes() == b"mine too"


def test_a_cover_that_is_no_picture_leaves_no_half_card(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match="broken"):
        write_card(tmp_path / "gone.safetensors", "Erases church", cover=tmp_path / "broken.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.png", "gone.json"]
