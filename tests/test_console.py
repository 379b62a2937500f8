"""No command ends because the console's code page lacks a character."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from erasure.cli import main
from erasure.console import json_text, print_any_character

POLISH, CHINESE, ROCKET = "Zażółć gęślą jaźń", "教堂", "🚀"


class _Console:
    """stdout and stderr of a code page, as a pipe has them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str):
        self._bytes = {"stdout": io.BytesIO(), "stderr": io.BytesIO()}
        self.encoding = encoding
        for name, stream in self._bytes.items():
            monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding, write_through=True))

    def said(self, name: str = "stdout") -> str:
        text = self._bytes[name].getvalue().decode(self.encoding)
        self._bytes[name].seek(0)
        self._bytes[name].truncate()
        return text


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "utf-8"])
def test_what_a_code_page_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    console = _Console(monkeypatch, encoding)
    print_any_character()
    sys.stdout.write(f"{POLISH} {CHINESE} {ROCKET} \udcff")
    said = console.said()
    assert "\\udcff" in said
    assert ("\\u6559\\u5802" in said) == (encoding != "utf-8")
    sys.stdout.write(json_text({"a": POLISH, "b": ROCKET}))
    assert json.loads(console.said()) == {"a": POLISH, "b": ROCKET}


def test_a_choice_of_the_user_and_other_streams_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="replace")
    monkeypatch.setattr(sys, "stdout", chosen)
    monkeypatch.setattr(sys, "stderr", None)
    print_any_character()
    assert chosen.errors == "replace"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_pictures")
def test_every_command_speaks_of_any_concept_in_any_code_page(
    monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = tmp_path / "words.txt"
    words.write_text(f"{POLISH}\n{ROCKET} rocket\ntruck\nbus\nhouse\n", encoding="utf-8")
    model = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu"]
    space = ["--vocabulary", "file", "--vocabulary-file", str(words), "--synonym-threshold", "0"]
    order = [*model, *space, "--erase", CHINESE, "--anchor", "dům"]
    quick = ["--steps", "2", "--learning-rate", "0.02", "--clip", "0", "--sampling-steps", "2"]
    console = _Console(monkeypatch, "cp1252")
    assert main(["concepts", *order]) == 0
    assert "\\u6559\\u5802 -> d\\u016fm" in console.said()
    assert main(["concepts", *order, "--json"]) == 0
    assert json.loads(console.said())["targets"][0]["target"] == CHINESE
    assert main(["train", *order, *quick, "--dry-run"]) == 0
    assert "\\u6559\\u5802" in console.said()
    out = str(tmp_path / f"{CHINESE}.safetensors")
    assert main(["train", *order, *quick, "--out", out]) == 0
    assert "erasing '\\u6559\\u5802'" in console.said()
    assert main(["inspect", out]) == 0
    assert "\\u6559\\u5802.safetensors" in console.said()
    assert main(["judge", *model, "--lora", out]) == 0
    assert "\\u6559\\u5802" in console.said()
    grid = tmp_path / f"{CHINESE}.png"
    drawn = ["--prompt", CHINESE, "--steps", "1", "--seed", "1", "--out", str(grid)]
    assert main(["preview", *model, "--lora", out, *drawn]) == 0
    assert grid.is_file()
    assert main(["train", *order, *quick, "--out", out]) == 2
    assert "\\u6559\\u5802.safetensors exists" in console.said("stderr")


def test_json_has_no_numbers_that_are_not_finite() -> None:
    text = json_text({"alphas": [float("nan"), 1.0], "settings": {"rate": float("inf"), "pair": (1, float("-inf"))}})
    assert json.loads(text, parse_constant=pytest.fail) == {
        "alphas": [None, 1.0],
        "settings": {"rate": None, "pair": [1, None]},
    }
