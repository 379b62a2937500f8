"""A run that got worse than it began is said to have diverged, with what to change, and is not done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from erasure.cli import main
from erasure.config.values import erase_config
from erasure.run.divergence import advice, diverged_before, divergence
from erasure.run.folder import RunFolder
from erasure.verdict.verdict import Verdict
from tests.verdicts import a_finding, a_verdict

CONFIG = erase_config(erase="church", preserve_weight=2.0)


def _steps(*losses: tuple[float, float], each: int = 10) -> list[dict[str, Any]]:
    course = [pair for pair in losses for _ in range(each)]
    return [
        {"event": "step", "step": i + 1, "erase_loss": erase, "preserve_loss": preserve}
        for i, (erase, preserve) in enumerate(course)
    ]


def _verdict(near: int, unrelated: int) -> Verdict:
    others = [a_finding(f"near {i}", "near", near, of=2) for i in range(4)]
    others += [a_finding(f"other {i}", "unrelated", unrelated, of=2) for i in range(4)]
    return Verdict((a_finding("church", "target", 0), *others), 60)


def test_losses_far_above_their_first_values_are_divergence() -> None:
    assert divergence(CONFIG, _steps((0.03, 0.0), (0.4, 0.5)), None) == "the loss rose from 0.03 to 1.4"
    assert divergence(CONFIG, _steps((0.03, 0.0), (0.4, float("nan"))), None)
    assert divergence(CONFIG, _steps((0.03, 0.0), (0.1, 0.1)), _verdict(2, 2)) == ""
    # Too few pictures were known before to tell anything.
    assert divergence(CONFIG, _steps((0.03, 0.0), (0.4, 0.5)), a_verdict(0))


@pytest.mark.parametrize(
    "losses",
    [
        _steps((0.03, 0.0), (0.02, 0.01)),
        _steps((0.03, 0.0), (0.05, 0.01)),  # 2.3 times, as in the middle of sound runs
        _steps((0.0001, 0.0), (0.01, 0.01)),  # a target that the model hardly knows
        _steps((0.03, 0.0), (2.0, 2.0), (0.01, 0.02)),  # it found back
        _steps((0.03, 0.0), (2.0, 2.0), each=9),  # too short to tell
        [],
    ],
)
def test_other_losses_are_not(losses: list[dict[str, Any]]) -> None:
    assert divergence(CONFIG, losses, None) == ""


def test_pictures_of_everything_changed_are_divergence_whatever_the_losses() -> None:
    fine = _steps((0.03, 0.0), (0.02, 0.01))
    said = divergence(CONFIG, fine, _verdict(0, 0))
    assert said == "pictures of everything changed: of the nearest words 0 of 8 are left, of unrelated ones 0 of 8"
    assert divergence(CONFIG, fine, _verdict(0, 1)) == divergence(CONFIG, fine, _verdict(1, 0)) == ""


def test_a_resumed_run_counts_its_updates_once() -> None:
    again = _steps((0.03, 0.0), (0.02, 0.01))
    assert divergence(CONFIG, [*_steps((0.03, 0.0), (5.0, 5.0)), *again], None) == ""


def _judged(verdict: Verdict) -> dict[str, Any]:
    return {"event": "judged", "step": verdict.step, "verdict": verdict.to_dict()}


def test_a_run_that_is_over_diverged_before_and_one_with_updates_left_did_not() -> None:
    worse = _steps((0.03, 0.0), (0.4, 0.5))
    unjudged = erase_config(erase="church", preserve_weight=2.0, judged_words=0, look_every=0, steps=20)
    assert diverged_before(unjudged, worse, longer=False) == divergence(unjudged, worse, None)
    assert diverged_before(unjudged, worse, longer=True)
    assert diverged_before(unjudged, worse[:19], longer=False) == ""
    assert diverged_before(erase_config(**{**unjudged.to_dict(), "steps": 40}), worse, longer=True) == ""
    assert diverged_before(unjudged, _steps((0.03, 0.0), (0.02, 0.0)), longer=False) == ""

    judged = [*_steps((0.03, 0.0), (0.02, 0.01)), _judged(_verdict(0, 0))]
    assert diverged_before(CONFIG, judged, longer=False).startswith("pictures of everything changed")
    assert diverged_before(CONFIG, judged[:-1], longer=False) == ""  # interrupted before it was judged
    assert diverged_before(CONFIG, [*judged, *_steps((0.03, 0.0))], longer=False) == ""  # trained on since
    assert diverged_before(CONFIG, [*judged[:-1], _judged(_verdict(2, 2))], longer=False) == ""
    for damaged in ({"event": "step"}, {"event": "judged"}, {"event": "judged", "verdict": {"step": 1, "findings": 3}}):
        assert diverged_before(CONFIG, [*judged[:-1], damaged], longer=False) == ""


def test_advice_names_the_settings_that_let_training_diverge() -> None:
    assert advice(erase_config(erase="church", learning_rate=0.02)) == (
        "learning_rate 0.005 instead of 0.02 and pace 0.0063 instead of 0.025"
    )
    wild = erase_config(erase="church", learning_rate=0.1, pace=0, clip=0, guidance=3, precision="fp16")
    assert advice(wild) == (
        "learning_rate 0.025 instead of 0.1, pace 0.025, which adapts the learning rate, clip 1, guidance 1 and "
        "precision bf16 or fp32"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("quick_pictures")
def test_a_run_that_diverged_ends_with_an_error_its_pictures_and_its_lora_in_the_run_folder(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("erasure.run.run.divergence", lambda *_: "the loss rose from 1 to 9")
    words = tmp_path / "words.txt"
    words.write_text("truck\nbus\nhouse\ntower\n")
    out, run = tmp_path / "out.safetensors", tmp_path / "run"
    space = ["--vocabulary", "file", "--vocabulary-file", str(words), "--synonym-threshold", "0"]
    quick = ["--steps", "2", "--learning-rate", "0.02", "--sampling-steps", "2", "--device", "cpu"]
    given = ["train", "--checkpoint", str(tiny_checkpoint), "--erase", "church", *space, *quick]
    assert main([*given, "--out", str(out), "--run", str(run)]) == 1
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: training diverged: the loss rose from 1 to 9.")
    assert "learning_rate 0.005 instead of 0.02" in line
    assert "done" not in said.out
    folder = RunFolder(run)
    assert not out.exists()
    assert folder.lora.is_file()
    assert folder.state.is_file()
    assert folder.previews() == {2}

    # Resuming it says so at once: nothing is loaded.
    monkeypatch.setattr("erasure.run.run.open_tuned_model", None)
    monkeypatch.setattr("erasure.run.divergence.divergence", lambda *_: "the loss rose from 1 to 9")
    assert main(["train", "--resume", str(run), "--device", "cpu"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the training of this run diverged: the loss rose from 1 to 9.")
    assert "learning_rate 0.005 instead of 0.02" in line
    assert str(run / "run.json") in line
    monkeypatch.undo()
    config = ["--config", str(run / "run.json"), "--learning-rate", "0.005"]
    assert main(["train", "--checkpoint", str(tiny_checkpoint), *config, "--device", "cpu", "--dry-run"]) == 0
    assert "2 updates" in capsys.readouterr().out
