from __future__ import annotations

from pathlib import Path

import pytest

from erasure.errors import RunError
from erasure.jobs.names import free_name, safe_name, suggest_name, taken_names


@pytest.mark.parametrize(
    "name", ["erase-church", "Kirche (alt) v1.5", "教会", "console", "com10", "a" * 100, "é" * 100]
)
def test_a_name_that_is_fit_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("../up", "dot"),
        (".hidden", "dot"),
        ("a/b", "/"),
        ("a\\b", "\\\\"),
        ("C:name", ":"),
        ("a>b", ">"),
        ("what?", r"\?"),
        ("a\nb", "control"),
        ("a\0b", "control"),
        ("a\u202eb", "control"),
        ("a\ud800b", "control"),
        ("church ", "space"),
        (" church", "space"),
        ("church.", "Windows"),
        ("CON", "Windows"),
        ("nul.txt", "Windows"),
        ("lpt1", "Windows"),
        ("com¹", "Windows"),
        ("conin$", "Windows"),
        ("a" * 101, "too long"),
        ("教" * 90, "too long"),
    ],
)
def test_a_name_that_some_system_refuses_is_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(RunError, match=why):
        safe_name(name)


@pytest.mark.parametrize(
    ("erase", "name"),
    [
        (["garbage truck"], "erase-garbage-truck"),
        (["Van Gogh", "Café de nuit"], "erase-van-gogh-cafe-de-nuit"),
        (["教会"], "erase-concept"),
        (["教会", "dog"], "erase-dog"),
        ([], "erase-concept"),
        (["../../etc/passwd"], "erase-etc-passwd"),
        (["<lora:x:1>"], "erase-lora-x-1"),
    ],
)
def test_a_suggested_name_tells_the_concepts(erase: list[str], name: str) -> None:
    assert suggest_name(erase) == name
    assert safe_name(name)


def test_a_suggested_name_is_short_however_much_is_erased() -> None:
    name = suggest_name([f"concept number {i}" for i in range(50)])
    assert len(name) <= 70
    assert safe_name(name)


def test_a_suggested_name_is_not_taken() -> None:
    assert suggest_name(["dog"], {"erase-dog", "erase-dog-2"}) == "erase-dog-3"


def test_names_are_taken_in_sub_folders_and_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for path in ("One.safetensors", "sub/TWO.PT", "sub/notes.txt"):
        (tmp_path / path).touch()
    assert taken_names(tmp_path) == {"one", "two"}
    assert taken_names(tmp_path / "none") == frozenset()
    assert free_name("Two", tmp_path) == "Two-2"
    assert free_name("notes", tmp_path) == "notes"
