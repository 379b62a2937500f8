"""Measuring any LoRA file, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from erasure.cli import main
from erasure.config.presets import preset
from erasure.errors import ConfigError, LoraFileError
from erasure.lora.file import read_lora
from erasure.lora.metadata import VERDICT_KEY
from erasure.model.checkpoint import inspect_checkpoint, sha256, short_hash
from erasure.verdict.measurement import base_note, measure_task
from erasure.verdict.verdict import Verdict, hurt_line, told_verdict
from tests.loras import random_lora
from tests.verdicts import a_verdict

pytestmark = pytest.mark.usefixtures("quick_pictures")

OURS = {"erase": ["church"], "synonym": ["abbey"], "templates": ["a drawing of a {}"], "neighbours": 3,
        "synonym_threshold": 0.0, "vocabulary": "words"}  # fmt: skip


@pytest.fixture(autouse=True)
def few_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tmp_path / "few.txt"
    words.write_text("truck\nbus\nhouse\ntower\nbell\ndog\ntree\nday\n", encoding="utf-8")
    monkeypatch.setattr("erasure.concepts.vocabulary.WORDS", words)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A file that says what it erases."""
    return random_lora(tmp_path / "ours.safetensors", OURS)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file of another program, which says nothing."""
    return random_lora(tmp_path / "foreign.safetensors")


def judge(checkpoint: Path, lora: Path, *flags: str) -> list[str]:
    return ["judge", "--checkpoint", str(checkpoint), "--lora", str(lora), "--device", "cpu", *flags]


def measured(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def concepts(found: dict[str, Any], *roles: str) -> list[str]:
    return [finding["concept"] for finding in found["findings"] if finding["role"] in roles]


# --- what is measured


@pytest.mark.slow
def test_a_file_is_measured_as_the_run_that_made_it_measured_it(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gone.safetensors"
    space = ["--neighbours", "4", "--synonym-threshold", "0", "--synonym", "abbey"]
    quick = ["--steps", "4", "--learning-rate", "0.02", "--clip", "0", "--sampling-steps", "3", "--look-every", "0"]
    kept = ["--judged-words", "3", "--save-precision", "fp32", "--device", "cpu"]
    train = ["train", "--checkpoint", str(tiny_checkpoint), "--erase", "church", *space, *quick, *kept]
    assert main([*train, "--out", str(out), "--run", str(tmp_path / "run")]) == 0
    by_run = json.loads(read_lora(out).metadata[VERDICT_KEY])
    found = measured(capsys, *judge(tiny_checkpoint, out, "--words", "3"))
    assert found["notes"] == []
    assert concepts(found, "name") == ["abbey"]
    for mine, its in zip(found["findings"], by_run["findings"], strict=True):
        figures = {"strength", "moved", "score_before", "score_after"}
        assert {k: v for k, v in mine.items() if k not in figures} == {k: v for k, v in its.items() if k not in figures}
        assert [mine[k] for k in figures] == pytest.approx([its[k] for k in figures], rel=1e-2, abs=1e-3)
        assert mine["moved"] > 0.01


def test_a_file_of_ours_says_what_it_erases_and_how_prompts_are_written(
    tiny_checkpoint: Path, ours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(capsys, *judge(tiny_checkpoint, ours, "--keep", "house"))
    assert (found["lora"], found["checkpoint"], found["weight"]) == ("ours.safetensors", tiny_checkpoint.name, 1.0)
    assert (concepts(found, "target"), concepts(found, "name")) == (["church"], ["abbey"])
    assert "house" in concepts(found, "near")
    assert set(found) >= {"gone", "left", "hurt", "kept_share", "lines"}
    config = measure_task(tiny_checkpoint, ours, {}).config
    assert (config.templates, config.neighbours) == (("a drawing of a {}",), 3)


def test_a_file_of_another_program_is_measured_for_the_concept_that_is_given(
    tiny_checkpoint: Path, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--erase", "truck", "--synonym", "lorry", "--template", "one {}", "--words", "2"]
    assert main(judge(tiny_checkpoint, foreign, *flags)) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("truck: ")
    assert "judged" in shown.err
    found = measured(capsys, *judge(tiny_checkpoint, foreign, *flags, "--weight", "0"))
    assert (concepts(found, "target"), concepts(found, "name")) == (["truck"], ["lorry"])
    # At weight 0 the file does nothing, and at weight 1 it does.
    assert max(finding["moved"] for finding in found["findings"]) < 1e-3
    again = measured(capsys, *judge(tiny_checkpoint, foreign, *flags))
    assert min(finding["moved"] for finding in again["findings"]) > 1e-2


def test_concepts_that_are_given_replace_those_in_the_file(tiny_checkpoint: Path, ours: Path) -> None:
    config = measure_task(tiny_checkpoint, ours, {"erase": ["truck"], "synonym": None, "preserve": []}).config
    assert (config.erase, config.synonym, config.templates) == (("truck",), (), ("a drawing of a {}",))
    config = measure_task(tiny_checkpoint, ours, {"synonym": ["chapel"]}).config
    assert (config.erase, config.synonym) == (("church",), ("chapel",))


def test_the_kind_of_concept_fills_in_what_a_file_does_not_say(
    tiny_checkpoint: Path, ours: Path, foreign: Path
) -> None:
    style, unsafe = preset("style").settings, preset("nudity").settings
    config = measure_task(tiny_checkpoint, foreign, {"erase": ["cubism"]}, usual=style).config
    assert (config.vocabulary, list(config.templates)) == ("styles", style["templates"])
    config = measure_task(tiny_checkpoint, ours, {}, usual=style).config
    assert (config.vocabulary, config.templates) == ("words", ("a drawing of a {}",))
    # What a preset erases is not what the file erases.
    assert measure_task(tiny_checkpoint, foreign, {"erase": ["truck"]}, usual=unsafe).config.synonym == ()


def test_words_that_were_hurt_are_printed_by_name(
    tiny_checkpoint: Path, ours: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = a_verdict(left=3, concept="chur\x1b[31mch")
    monkeypatch.setattr("erasure.verdict.examination.Examination.before", lambda self: iter(()))
    monkeypatch.setattr("erasure.verdict.examination.Examination.after", lambda self: _ends(verdict))
    assert main(judge(tiny_checkpoint, ours)) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "chur?[31mch: recognised in 3 of 8 pictures (8 of 8 before)."
    assert shown[-1] == "Hurt: tower (0 of 2)."
    assert hurt_line(Verdict(())) == ""
    assert told_verdict(verdict)["hurt"] == ["tower"]


def _ends(verdict: Verdict) -> Any:
    yield 1.0
    return verdict


def test_a_file_for_another_checkpoint_is_measured_and_said_to_be_so(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info, base = inspect_checkpoint(tiny_checkpoint), {"ss_sd_model_name": "other.ckpt"}
    own = {"ss_sd_model_hash": short_hash(tiny_checkpoint), "ss_new_sd_model_hash": sha256(tiny_checkpoint)}
    said = {
        "same": own,
        "unknown": {"ss_sd_model_hash": "None"},
        "short": {**own, "ss_sd_model_hash": "0123abcd"},
        "full": {**own, "ss_new_sd_model_hash": "0" * 64},
    }
    files = {name: random_lora(tmp_path / f"{name}.safetensors", OURS, {**base, **keys}) for name, keys in said.items()}
    notes = {name: base_note(read_lora(file), info) for name, file in files.items()}
    assert (notes["same"], notes["unknown"]) == ("", "")
    assert notes["short"].startswith("short.safetensors was made from other.ckpt, which is another file than tiny")
    assert notes["full"].startswith("full.safetensors was made from other.ckpt")
    found = measured(capsys, *judge(tiny_checkpoint, files["short"]))
    assert found["notes"] == [notes["short"]]


# --- what is refused


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 2, "does not say what it erases; name the concept"),
        (("--erase", "truck", "--weight", "nan"), 2, "weight: nan is not a number from -10 to 10"),
        (("--erase", "truck", "--weight", "1e9"), 2, "weight: 1000000000.0 is not"),
        (("--erase", "truck", "--words", "-1"), 2, "judged_words: -1 is outside"),
        (("--erase", "truck", "--template", "no braces"), 2, "templates:"),
        (("--erase", "truck", "--keep", "truck"), 2, "preserve: 'truck' is also to be erased"),
        (("--erase", "truck", "--lora", "missing.safetensors"), 1, "there is no file missing.safetensors"),
        (("--erase", "truck", "--checkpoint", "missing.safetensors"), 1, "missing.safetensors"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(
    tiny_checkpoint: Path, foreign: Path, flags: tuple[str, ...], code: int, message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(judge(tiny_checkpoint, foreign, *flags)) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_a_file_that_does_not_fit_is_refused_before_any_picture(
    tiny_checkpoint: Path, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(foreign)
    first = next(name for name in tensors if name.endswith("lora_down.weight"))
    tensors[first] = tensors[first][:, :-1].contiguous()
    save_file(tensors, foreign)
    assert main(judge(tiny_checkpoint, foreign, "--erase", "truck")) == 1
    shown = capsys.readouterr()
    assert "foreign.safetensors does not fit the model" in shown.err
    assert "judged" not in shown.err


def test_pictures_that_are_no_pictures_make_no_verdict(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values that are not finite are recognised as nothing, so that everything would seem to be gone."""
    strong = random_lora(tmp_path / "strong.safetensors", OURS, strength=1e37)
    assert main(judge(tiny_checkpoint, strong, "--weight", "10")) == 1
    assert "values that are not finite; choose a smaller weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    "said", [{"erase": 3}, {"erase": ["church"], "neighbours": -4}, {"erase": ["a"] * 3, "anchor": ["b"] * 2}]
)
def test_nonsense_in_a_file_is_refused_unless_the_concept_is_given(
    tiny_checkpoint: Path, tmp_path: Path, said: dict[str, Any]
) -> None:
    file = random_lora(tmp_path / "odd.safetensors", said)
    with pytest.raises(ConfigError, match=r"what odd\.safetensors says of itself cannot be used"):
        measure_task(tiny_checkpoint, file, {})
    assert measure_task(tiny_checkpoint, file, {"erase": ["truck"]}).config.erase == ("truck",)


def test_a_vocabulary_that_is_not_there_is_replaced_and_told(tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = random_lora(tmp_path / "own.safetensors", {**OURS, "vocabulary": "file", "vocabulary_file": "words.txt"})
    task = measure_task(tiny_checkpoint, file, {})
    assert (task.config.vocabulary, task.config.vocabulary_file) == ("words", "")
    assert "common words are judged" in task.notes[0]


def test_a_checkpoint_is_no_lora(tiny_checkpoint: Path) -> None:
    with pytest.raises(LoraFileError, match="a full checkpoint, no LoRA"):
        measure_task(tiny_checkpoint, tiny_checkpoint, {"erase": ["truck"]})
