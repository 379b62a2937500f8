from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from erasure.config.values import erase_config
from erasure.errors import OutputRefused, RunError
from erasure.run.events import Measured
from erasure.run.folder import Origin, RunFolder, job_folders
from tests.spaces import space_of

CONFIG = erase_config(erase=("church",))
ORIGIN = Origin("/models/sd.safetensors", "ab" * 32, "ab12", "/loras/gone.safetensors", 1_700_000_000.5)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "one")


def test_what_is_written_is_read_again(folder: RunFolder) -> None:
    assert not folder.holds_run
    folder.create(ORIGIN, CONFIG)
    assert folder.holds_run
    assert folder.read() == (ORIGIN, CONFIG)
    assert folder.space() is None
    folder.save_space(space_of("church"))
    assert folder.space() == space_of("church")
    folder.write_job({"name": "gone"})
    assert folder.read_job() == {"name": "gone"}
    assert job_folders(folder.path.parent) == [folder]


def test_a_folder_that_holds_a_run_takes_no_other(folder: RunFolder) -> None:
    folder.create(ORIGIN, CONFIG)
    with pytest.raises(RunError, match="already holds a run"):
        folder.create(ORIGIN, CONFIG)


def test_a_path_that_is_no_text_is_named(folder: RunFolder) -> None:
    with pytest.raises(OutputRefused, match="its checkpoint, VAE or output is not valid text"):
        folder.create(replace(ORIGIN, checkpoint="/models/sd\udcff.safetensors"), CONFIG)
    assert not folder.holds_run
    with pytest.raises(RunError, match="its checkpoint, VAE or output is not valid text"):
        folder.write_job({"checkpoint": "/models/sd\udcff.safetensors"})


@pytest.mark.parametrize("log", [b"", b'{"event": "no', b"\xff\xfe\n[1]\n7\n"])
def test_lines_of_a_log_that_make_no_sense_are_left_out(folder: RunFolder, log: bytes) -> None:
    folder.create(ORIGIN, CONFIG)
    assert list(folder.events()) == []
    folder.log(Measured(3, "ESR-1", 0.5))
    with (folder.path / "events.jsonl").open("ab") as file:
        file.write(log)
    assert list(folder.events()) == [{"event": "measured", "step": 3, "series": "ESR-1", "value": 0.5}]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"config": 7}'])
def test_a_description_that_makes_no_sense_is_refused(folder: RunFolder, text: str) -> None:
    folder.create(ORIGIN, CONFIG)
    (folder.path / "run.json").write_text(text)
    with pytest.raises(RunError):
        folder.read()


def test_a_run_without_a_time_or_a_short_hash_can_be_read(folder: RunFolder) -> None:
    folder.create(ORIGIN, CONFIG)
    values = json.loads((folder.path / "run.json").read_text())
    del values["started"], values["short_hash"]
    (folder.path / "run.json").write_text(json.dumps(values))
    origin = folder.read()[0]
    assert (origin.started, origin.short_hash, origin.sha256) == (None, "", ORIGIN.sha256)


def test_only_steps_with_pictures_are_previews(folder: RunFolder) -> None:
    folder.sheet(0).parent.mkdir(parents=True)
    for name in ("step-000003.png", "step-x.png", "step-1234567.png"):
        (folder.path / "previews" / name).touch()
    folder.pictures(5).mkdir(parents=True)
    assert folder.previews() == {3, 1234567}


def test_a_run_can_be_looked_at_without_torch() -> None:
    names = "task folder events picture_folder preview picture_sheet cover card output"
    code = f"import sys; [__import__('erasure.run.' + n) for n in {names!r}.split()]; import erasure.training.events; "
    code += "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
