from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from erasure.config.presets import preset
from erasure.run.card import write_card
from erasure.run.cover import is_unsafe
from erasure.run.folder import RunFolder
from erasure.run.picture_folder import Subject
from erasure.run.preview import RunPreview
from tests.drawn import a_preview


def test_a_card_has_what_web_uis_read(tmp_path: Path) -> None:
    lora = tmp_path / "gone v1.5.safetensors"
    preview, facts = _preview(tmp_path), PngInfo()
    facts.add_text("parameters", "a secret prompt")
    for path in preview.place.parent.glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
        picture.save(path, pnginfo=facts)
    written = write_card(lora, 'Erases "church"', "made by hand", preview, version="SD1")
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
        assert picture.size == (206, 312)
        assert picture.getpixel((5, 5)) == (0, 0, 255, 255)
        assert picture.info == {}


def test_a_card_that_is_there_is_left_alone(tmp_path: Path) -> None:
    lora = tmp_path / "gone.safetensors"
    (tmp_path / "gone.json").write_text("mine")
    (tmp_path / "gone.png").write_bytes(b"mine too")
    assert write_card(lora, "Erases church", preview=_preview(tmp_path), version="SD1") == []
    assert (tmp_path / "gone.json").read_text() == "mine"
    assert (tmp_path / "gone.png").read_bytes() == b"mine too"


def test_a_cover_that_is_no_picture_leaves_no_half_card(tmp_path: Path) -> None:
    preview = _preview(tmp_path / "run")
    next(preview.place.parent.glob("00-*.png")).write_bytes(b"no picture")
    with pytest.raises(OSError, match="00-prompt-0"):
        write_card(tmp_path / "gone.safetensors", "Erases church", preview=preview, version="SD1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gone.json", "run"]


# --- the picture


def _preview(folder: Path, prompts: int = 4, side: int = 100) -> RunPreview:
    """Blue before, red after."""
    subjects = [Subject(f"prompt {n}", f"a prompt {n}", "erased") for n in range(prompts)]
    return a_preview(folder, 7, *subjects, side=side)


def _colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        colours: Any = picture.getcolors(99)
        return {colour for _, colour in colours}


def test_the_cover_has_pictures_before_and_after_and_nothing_between_them(tmp_path: Path) -> None:
    write_card(tmp_path / "gone.safetensors", "Erases church", "", _preview(tmp_path), version="SD1")
    with Image.open(tmp_path / "gone.png") as picture:
        assert picture.size == (206, 312)
        assert picture.getpixel((50, 50)) == (0, 0, 255, 255)
        assert picture.getpixel((150, 50)) == (255, 0, 0, 255)
        between: Any = picture.getpixel((103, 50))
        assert between[3] == 0
    assert len(_colours(tmp_path / "gone.png")) == 3


def test_a_large_cover_is_made_small(tmp_path: Path) -> None:
    write_card(tmp_path / "gone.safetensors", "Erases church", "", _preview(tmp_path, 3, side=512), version="SD1")
    with Image.open(tmp_path / "gone.png") as picture:
        assert max(picture.size) == 768


def test_unsafe_content_is_not_shown_as_it_was_before(tmp_path: Path) -> None:
    write_card(tmp_path / "gone.safetensors", "Erases it", "", _preview(tmp_path), version="SD1", after_only=True)
    assert _colours(tmp_path / "gone.png") == {(255, 0, 0, 255), (0, 0, 0, 0)}
    # Of this one nobody knows which part shows what.
    sheet = RunFolder(tmp_path / "old").sheet(7)
    sheet.parent.mkdir(parents=True)
    Image.new("RGB", (1600, 400), "red").save(sheet)
    old = RunPreview(RunFolder(tmp_path / "old"), 7)
    other = write_card(tmp_path / "other.safetensors", "Erases it", "", old, version="SD1", after_only=True)
    assert [path.name for path in other] == ["other.json"]


def test_unsafe_content_is_known_by_the_names_of_its_concepts() -> None:
    nudity = preset("nudity").settings
    assert is_unsafe(nudity["synonym"])
    for concept in ("nudity", "a Naked person", "NSFW", "gore", "blood", "violence", "self-harm"):
        assert is_unsafe(["church", concept]), concept
    for concept in ("church", "Van Gogh", "Essex", "bloodhound", "Gorey", "sexton"):
        assert not is_unsafe([concept]), concept
