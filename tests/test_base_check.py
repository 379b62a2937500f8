"""Whether a checkpoint is the base of a LoRA that somebody sent, and whether the file's hashes hold."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from erasure.cli import main
from erasure.lora.explain import explain_lora
from erasure.lora.relabel import copy_with_metadata
from erasure.model.checkpoint import inspect_checkpoint, sha256, short_hash
from erasure.verdict.base_check import check_base, told_by_measuring
from erasure.verdict.measurement import Measurement
from erasure.verdict.verdict import Verdict
from tests.loras import random_lora
from tests.test_lora_file import metadata_of
from tests.verdicts import a_finding, a_verdict


def test_a_base_is_told_by_its_hashes(tiny_checkpoint: Path) -> None:
    info = inspect_checkpoint(tiny_checkpoint)
    full, short = sha256(tiny_checkpoint), short_hash(tiny_checkpoint)
    said = {
        "both": {"ss_sd_model_hash": short, "ss_new_sd_model_hash": full.upper()},
        "short": {"ss_sd_model_hash": short},
        "other": {"ss_sd_model_hash": short, "ss_new_sd_model_hash": "0" * 64, "ss_sd_model_name": "other.ckpt"},
        "none": {"ss_sd_model_hash": "None"},
    }
    found = {name: check_base(metadata, info) for name, metadata in said.items()}
    assert {name: check.same for name, check in found.items()} == {
        "both": True, "short": True, "other": False, "none": None,
    }  # fmt: skip
    assert found["both"].line == "it was made from tiny.safetensors (sha256 is the same)"
    assert found["other"].line == "it was made from other.ckpt, which is another file than tiny.safetensors"


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        (a_verdict(), a_verdict().to_dict(), "it works here, as on its own base"),
        (a_verdict(), None, "it works here: what it should"),
        (a_verdict(left=5), a_verdict().to_dict(), "it erases less than its maker measured on its own base"),
        (a_verdict(left=5), a_verdict(left=3).to_dict(), "something is left here, as on its own base"),
        (a_verdict(left=5), {"nonsense": 1}, "it erases too little"),
        (Verdict(()), a_verdict().to_dict(), "nothing can be said about the base"),
    ],
)
def test_a_measurement_says_what_the_lora_does_here(here: Verdict, there: Any, said: str) -> None:
    assert said in told_by_measuring(here, there)


def _measuring(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> list[Any]:
    tasks: list[Any] = []

    def steps(task: Any, **_: object) -> Generator[float, None, Measurement]:
        tasks.append(task)
        yield 1.0
        return Measurement(task, verdict, task.notes)

    monkeypatch.setattr("erasure.verdict.examine.examine_lora", steps)
    return tasks


def test_inspect_measures_only_if_the_hashes_do_not_say_that_it_is_the_base(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = _measuring(monkeypatch, a_verdict(left=5))
    own = {"ss_new_sd_model_hash": sha256(tiny_checkpoint)}
    base = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu"]
    same = random_lora(tmp_path / "same.safetensors", {"erase": ["church"]}, own)
    assert main(["inspect", str(same), *base]) == 0
    assert "its base: it was made from tiny.safetensors" in capsys.readouterr().out
    assert tasks == []
    foreign = random_lora(tmp_path / "foreign.safetensors")
    assert main(["inspect", str(foreign), *base, "--hash-only"]) == 0
    assert "does not state the hash of its base" in capsys.readouterr().out
    assert tasks == []
    assert main(["inspect", str(foreign), *base]) == 2
    assert "name the concept" in capsys.readouterr().err
    assert main(["inspect", str(foreign), *base, "--erase", "church"]) == 0
    assert "it erases too little" in capsys.readouterr().out
    (task,) = tasks
    assert (task.config.erase, task.config.judged_words) == (("church",), 4)
    assert main(["inspect", str(foreign), "--erase", "church"]) == 2


def test_every_hash_that_a_file_states_is_recomputed(tmp_path: Path) -> None:
    path = random_lora(tmp_path / "x.safetensors", metadata=metadata_of("x"))
    report = explain_lora(path)
    assert report.whole
    assert report.other_hashes == {"modelspec.hash_sha256": "ok", "sshs_legacy_hash": "ok"}
    edited = tmp_path / "edited.safetensors"
    copy_with_metadata(path, edited, {**metadata_of("x"), "sshs_legacy_hash": "01234567"})
    assert explain_lora(edited).other_hashes["sshs_legacy_hash"].startswith("not the same: its metadata was edited")
    assert explain_lora(edited).whole
    copy_with_metadata(path, edited, {"modelspec.hash_sha256": "0x" + "0" * 64})
    assert explain_lora(edited).other_hashes["modelspec.hash_sha256"].startswith("WRONG")
    assert not explain_lora(edited).whole
    assert explain_lora(random_lora(tmp_path / "bare.safetensors")).whole


def test_a_finding_of_a_name_counts_as_left(tmp_path: Path) -> None:
    verdict = Verdict((a_finding("church", "target", 0), a_finding("basilica", "name", 3)))
    assert "erases too little" in told_by_measuring(verdict, None)
