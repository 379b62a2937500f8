from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from erasure.cli import main
from erasure.config.settings import settings
from erasure.config.values import config_from_dict, erase_config
from erasure.errors import ConfigError
from erasure.run.folder import Origin, RunFolder
from erasure.run.preview import RunPreview
from erasure.run.state import load_state

pytestmark = [pytest.mark.usefixtures("quick_pictures"), pytest.mark.slow]

WORDS = "truck\nbus\nhouse\ntower\nbell\ndog\n"


@pytest.fixture
def base(tiny_checkpoint: Path, tmp_path: Path) -> list[str]:
    """Flags of a training that takes seconds and changes the picture of a random model."""
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text(WORDS)
    quick = [
        "--steps",
        "4",
        "--learning-rate",
        "0.02",
        "--clip",
        "0",
        "--sampling-steps",
        "3",
        "--save-every",
        "2",
    ]
    space = ["--vocabulary", "file", "--vocabulary-file", str(vocabulary), "--synonym-threshold", "0"]
    device = ["--device", "cpu"]
    # Judging takes most of the time of a training this short.
    judged = ["--judged-words", "0", "--look-every", "0"]
    return ["train", "--checkpoint", str(tiny_checkpoint), "--erase", "church", *quick, *space, *device, *judged]


def _lora(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def test_every_setting_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for name in settings():
        assert f"--{name.replace('_', '-')}" in shown


def test_help_and_presets_need_no_torch() -> None:
    code = (
        "import sys; from erasure.cli import main; main(['presets']);"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "object" in done.stdout


def test_training_writes_a_lora_and_a_run_folder(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, run = tmp_path / "gone.safetensors", tmp_path / "run"
    judged = ["--judged-words", "2", "--look-every", "10"]
    assert main([*base, *judged, "--out", str(out), "--run", str(run)]) == 0
    assert any(key.endswith("lora_up.weight") for key in _lora(out))
    folder = RunFolder(run)
    assert folder.read()[1].erase == ("church",)
    events = [event["event"] for event in folder.events()]
    assert events.count("step") == 4
    assert events[-1] == "saved"
    assert "saved" in events[:-1]
    assert folder.previews() == {4}
    with Image.open(folder.sheet(4)) as sheet:
        assert sheet.tobytes() == RunPreview(folder, 4).sheet().tobytes()
    assert str(folder.sheet(4)) in capsys.readouterr().out
    with safe_open(out, framework="pt") as file:
        assert str(tmp_path) not in json.dumps(file.metadata())


def test_an_existing_output_is_kept_unless_asked(base: list[str], tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    out.write_bytes(b"precious")
    assert main([*base, "--out", str(out), "--run", str(tmp_path / "a")]) == 2
    assert out.read_bytes() == b"precious"
    assert main([*base, "--out", str(out), "--run", str(tmp_path / "b"), "--overwrite"]) == 0
    assert out.read_bytes() != b"precious"


def test_stop_then_resume_gives_the_same_file(base: list[str], tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    assert main([*base, "--out", str(whole), "--run", str(tmp_path / "one")]) == 0

    from erasure.run.beginning import erase
    from erasure.run.task import Task
    from erasure.training.events import Step

    config = RunFolder(tmp_path / "one").read()[1]
    checkpoint = Path(base[base.index("--checkpoint") + 1])
    folder = RunFolder(tmp_path / "two")
    events = erase(Task(checkpoint, cut, folder, config))
    for event in events:
        if isinstance(event, Step) and event.step == 3:
            break
    events.close()
    assert not cut.exists()
    assert load_state(folder.state)[1]["step"] == 3
    assert (tmp_path / "cut-step3.safetensors").exists()

    assert main(["train", "--resume", str(folder.path), "--device", "cpu"]) == 0
    one, two = _lora(whole), _lora(cut)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_an_interrupt_ends_with_130_and_keeps_everything(base: list[str], tmp_path: Path) -> None:
    out, run = tmp_path / "gone.safetensors", tmp_path / "run"
    arguments = [*base, "--out", str(out), "--run", str(run)]
    arguments[arguments.index("--steps") + 1] = "5000"
    arguments += ["--warmup", "0", "--start", "zero"]
    process = subprocess.Popen(
        [sys.executable, "-m", "erasure", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    log = run / "events.jsonl"
    while process.poll() is None and not (log.exists() and '"step": 3,' in log.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    shown, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "--resume" in shown
    assert (run / "state.safetensors").exists()
    (lora,) = tmp_path.glob("gone-step*.safetensors")
    assert str(lora) in shown
    assert not out.exists()


def test_dry_run_prints_the_plan_and_writes_nothing(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main([*base, "--look-every", "1", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for expected in ("church", "truck", "U-Net rows", "parameters", "memory", "on a GPU"):
        assert expected in shown
    times = re.search(r"about ([\d.]+) min if the first looks find all gone, at most ([\d.]+) min", shown)
    assert times is not None
    assert 0 < float(times[1]) < float(times[2])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--rank", "-1", "--batch", "0"], 2, "rank: -1 is outside"),
        (["--preset", "nothing"], 2, "there is no preset"),
        (["--out", "/nowhere/at/all/x.safetensors"], 2, "does not exist"),
        (["--out", "x.ckpt"], 2, "must end in .safetensors"),
        (["--checkpoint", "missing.safetensors"], 1, "missing.safetensors"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    base: list[str],
    flags: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [*base, "--out", str(tmp_path / "x.safetensors"), "--run", str(tmp_path / "run"), *flags]
    assert main(arguments) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_what_was_asked_for_is_kept_beside_what_was_used(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, run = tmp_path / "x.safetensors", tmp_path / "run"
    method = ["--method", "esd-u", "--synonym-threshold", "0.5"]
    assert main([*base, *method, "--out", str(out), "--run", str(run)]) == 0
    note = "synonym_threshold: 0.5 was asked for; method esd-u measures no synonyms"
    assert note in capsys.readouterr().out
    values = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert (values["asked"]["synonym_threshold"], values["config"]["synonym_threshold"]) == (0.5, 0.0)
    assert ("layers" in values["asked"], values["config"]["layers"]) == (False, "noxattn")
    config = RunFolder(run).read()[1]
    assert config.asked == values["asked"]
    assert config.to_dict() == values["config"]
    (plan,) = (event["plan"] for event in RunFolder(run).events() if event["event"] == "planned")
    assert (plan["decided"]["layers"], plan["decided"]["adversary"]) == ("noxattn", "none")
    with safe_open(out, framework="pt") as file:
        asked = json.loads(file.metadata()["adversarial_erase_asked"])
        assert str(tmp_path) not in json.dumps(file.metadata())
    assert asked == {**values["asked"], "vocabulary_file": "words.txt"}
    assert main(["inspect", str(out)]) == 0
    assert "synonym_threshold = 0.0 (asked for: 0.5)" in capsys.readouterr().out
    assert main([*base, *method, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert note in shown
    assert "layers = noxattn, by method esd-u" in shown
    assert main([*base, *method, "--layers", "xattn", "--dry-run"]) == 2


def test_a_run_of_an_older_version_is_resumed_with_the_settings_it_was_used_with(
    base: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main([*base, "--out", str(tmp_path / "x.safetensors"), "--run", str(run)]) == 0
    values = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del values["asked"]
    (run / "run.json").write_text(json.dumps(values), encoding="utf-8")
    assert RunFolder(run).read()[1].to_dict() == values["config"]
    again = tmp_path / "again.safetensors"
    resumed = ["train", "--resume", str(run), "--device", "cpu", "--out", str(again)]
    assert main([*resumed, "--preserve-weight", "2"]) == 0
    with safe_open(again, framework="pt") as file:
        assert json.loads(file.metadata()["adversarial_erase_asked"])["preserve_weight"] == 2.0


def test_a_config_file_is_overridden_by_flags(base: list[str], tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"rank": 3, "alpha": 3.0, "seed": 9}))
    out, run = tmp_path / "x.safetensors", tmp_path / "run"
    assert main([*base, "--config", str(file), "--rank", "2", "--out", str(out), "--run", str(run)]) == 0
    config = RunFolder(run).read()[1]
    assert (config.rank, config.seed) == (2, 9)


def test_a_lora_that_does_nothing_is_an_error(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*base, "--out", str(tmp_path / "x.safetensors"), "--run", str(tmp_path / "run")]
    arguments[arguments.index("--learning-rate") + 1] = "1e-7"
    # The closed form that training otherwise starts from may change the picture of a random model by itself.
    assert main([*arguments, "--start", "zero"]) == 1
    assert "does not change the picture" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


def test_concepts_preview_and_inspect(
    base: list[str], tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, grid = tmp_path / "x.safetensors", tmp_path / "grid.png"
    assert main([*base, "--out", str(out), "--run", str(tmp_path / "run")]) == 0
    model = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu"]
    vocabulary = base[base.index("--vocabulary") : base.index("--device")]
    capsys.readouterr()
    assert main(["concepts", *model, "--erase", "church", *vocabulary, "--json"]) == 0
    space = json.loads(capsys.readouterr().out)
    assert {c["text"] for c in space["targets"][0]["preserved"]} == set(WORDS.split())
    preview = [
        "preview",
        *model,
        "--lora",
        str(out),
        "--prompt",
        "a church",
        "--steps",
        "2",
        "--out",
        str(grid),
    ]
    assert main(preview) == 0
    assert grid.exists()
    assert main(preview) == 2
    assert main(["inspect", str(out)]) == 0
    assert "church" in capsys.readouterr().out


def test_a_resumed_run_keeps_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(tmp_path), "--rank", "4"]) == 2
    assert "rank: a resumed run cannot change it" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path), "--dry-run"]) == 2
    assert "--dry-run: does not go with --resume" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path)]) == 1


def test_a_run_is_resumed_at_another_pace_but_not_with_one_if_it_had_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    origin = Origin("gone.safetensors", "ab", "ab", str(tmp_path / "x.safetensors"))
    folder.create(origin, erase_config(erase="church", pace=0))
    assert main(["train", "--resume", str(folder.path), "--pace", "0.01"]) == 2
    assert "pace: a resumed run can change it, but not begin" in capsys.readouterr().err
    other = RunFolder(tmp_path / "other")
    other.create(origin, erase_config(erase="church"))
    assert main(["train", "--resume", str(other.path), "--pace", "0.01", "--device", "cpu"]) == 1
    assert "no longer at gone.safetensors" in capsys.readouterr().err


def test_a_resumed_run_takes_its_checkpoint_from_where_it_lies_now(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from erasure.run.beginning import erase
    from erasure.run.task import Task
    from erasure.training.events import Step

    values = dict(zip(base[1::2], base[2::2], strict=True))
    kept = Path(values["--checkpoint"])
    shutil.copytree(kept.parent, tmp_path / "models")
    folder, out = RunFolder(tmp_path / "run"), tmp_path / "x.safetensors"
    config = config_from_dict(
        {"erase": ["church"], "steps": 3, "learning_rate": 0.02, "sampling_steps": 3, "vocabulary": "file",
         "vocabulary_file": values["--vocabulary-file"], "synonym_threshold": 0.0, "judged_words": 0, "look_every": 0}
    )  # fmt: skip
    with erase(Task(tmp_path / "models" / kept.name, out, folder, config)) as started:
        next(event for event in started if isinstance(event, Step))
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    again = ["train", "--resume", str(folder.path), "--device", "cpu"]
    assert main(again) == 1
    assert "--checkpoint" in capsys.readouterr().err
    assert main([*again, "--checkpoint", str(tmp_path / "elsewhere" / kept.name)]) == 0
    assert out.exists()


def test_the_output_of_a_resumed_run_is_checked_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the run folder is read, which holds no run here."""
    out = tmp_path / "nowhere" / "x.safetensors"
    assert main(["train", "--resume", str(tmp_path), "--out", str(out)]) == 2
    assert "x.safetensors" in (said := capsys.readouterr().err)
    assert "does not exist" in said


def test_a_resumed_run_may_change_how_it_trains_but_not_what(base: list[str], tmp_path: Path) -> None:
    from erasure.run.beginning import erase, resume
    from erasure.run.task import Task
    from erasure.training.events import Step

    values = dict(zip(base[3::2], base[4::2], strict=True))
    config = config_from_dict(
        {"erase": ["church"], "steps": 4, "learning_rate": 0.02, "clip": 0.0, "sampling_steps": 3,
         "vocabulary": "file", "vocabulary_file": values["--vocabulary-file"], "synonym_threshold": 0.0}
    )  # fmt: skip
    checkpoint, folder = Path(base[base.index("--checkpoint") + 1]), RunFolder(tmp_path / "run")
    events = erase(Task(checkpoint, tmp_path / "x.safetensors", folder, config))
    next(event for event in events if isinstance(event, Step) and event.step == 2)
    events.close()
    with pytest.raises(ConfigError, match="rank"):
        resume(folder, changes={"rank": 2})
    steps = [e for e in resume(folder, changes={"learning_rate": 0.01}) if isinstance(e, Step)]
    assert [step.step for step in steps] == [3, 4]
    assert steps[0].learning_rate == 0.01


def test_previews_do_not_count_as_training(base: list[str], tmp_path: Path) -> None:
    for name, every in (("a", "0"), ("b", "1")):
        run = tmp_path / name
        out = tmp_path / f"{name}.safetensors"
        assert main([*base, "--preview-every", every, "--out", str(out), "--run", str(run)]) == 0
    rows = [[e["rows"] for e in RunFolder(tmp_path / name).events() if e["event"] == "step"] for name in "ab"]
    assert rows[0] == rows[1]
    assert rows[0][0] < 60
