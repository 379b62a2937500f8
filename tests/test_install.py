"""What install.py adds beside a host's own packages, and what it leaves alone."""

from __future__ import annotations

import argparse
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType

import pytest

from erasure.host.requirements import advice, unmet
from tests.webui import FAKE

ROOT = Path(__file__).parents[1]
A1111 = {"transformers": "4.30.2", "torch": "2.1.2", "numpy": "1.26.2"}
FORGE = {"transformers": "4.46.1", "torch": "2.3.1", "numpy": "1.26.2", "diffusers": "0.31.0", "peft": "0.13.2"}
# By their requirements files: transformers, diffusers; peft is not there.
REFORGE = {"transformers": "4.48.1", "torch": "2.9.0", "numpy": "1.26.4", "diffusers": "0.32.2"}
CLASSIC = {"transformers": "4.30.2", "torch": "2.6.0+cu126", "numpy": "1.26.2", "diffusers": "0.31.0"}


def versions(installed: dict[str, str]) -> Callable[[str], str]:
    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    return version


@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        (A1111, ["diffusers>=0.30,<0.32", "peft>=0.10,<0.14"]),
        ({**A1111, "diffusers": "0.31.0", "peft": "0.13.2"}, []),
        ({**A1111, "diffusers": "0.31.0"}, ["peft>=0.10,<0.14"]),
        ({**A1111, "diffusers": "0.27.2", "peft": "0.13.2"}, ["diffusers>=0.30,<0.32"]),
        # newer ones are there, but do not import beside this transformers
        ({**A1111, "diffusers": "0.35.1", "peft": "0.17.0"}, ["diffusers>=0.30,<0.32", "peft>=0.10,<0.14"]),
        (FORGE, []),
        ({**FORGE, "diffusers": "0.35.1", "peft": "0.17.0"}, []),
        (REFORGE, ["peft>=0.10,<0.14"]),
        ({**REFORGE, "peft": "0.13.2"}, []),
        (CLASSIC, ["peft>=0.10,<0.14"]),
        ({**CLASSIC, "peft": "0.13.2"}, []),
        ({"transformers": "4.46.1"}, ["diffusers>=0.30,<0.32", "peft>=0.10,<0.14"]),
        ({"transformers": "5.23.0"}, ["diffusers>=0.30", "peft>=0.10"]),
        ({"transformers": "5.23.0", "diffusers": "0.42.1", "peft": "0.21.2"}, []),
        ({}, ["diffusers>=0.30,<0.32", "peft>=0.10,<0.14"]),
    ],
)
def test_what_is_missing_depends_on_the_transformers_that_is_there(
    installed: dict[str, str], missing: list[str]
) -> None:
    assert [str(item) for item in unmet(versions(installed))] == missing


def test_the_advice_is_one_line_with_the_command() -> None:
    text = advice(unmet(versions({**A1111, "diffusers": "0.27.2"})))
    assert "\n" not in text
    assert "diffusers 0.27.2 does not work here, peft is not installed" in text
    assert f'"{sys.executable}" -m pip install "diffusers>=0.30,<0.32" "peft>=0.10,<0.14"' in text


# --- the script itself


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Run install.py as the launcher does, with these packages installed; gives the commands for pip."""
    log = tmp_path / "pip.log"
    monkeypatch.setenv("FAKE_PIP_LOG", str(log))
    monkeypatch.setenv("REQS_FILE", str(tmp_path / "requirements_versions.txt"))
    monkeypatch.syspath_prepend(str(FAKE))

    def run(installed: dict[str, str], requirements: str = "transformers==4.30.2\nnumpy==1.26.2\ntorch\n") -> str:
        (tmp_path / "requirements_versions.txt").write_text(requirements)
        monkeypatch.setattr("importlib.metadata.version", versions(installed))
        monkeypatch.delitem(sys.modules, "launch", raising=False)
        runpy.run_path(str(ROOT / "install.py"), run_name="__main__")
        return log.read_text() if log.exists() else ""

    return run


def test_only_what_is_missing_is_installed_and_all_that_is_pinned_is_kept(
    install: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    command, what, kept = install(A1111).strip().split(" | ")
    assert command == 'install "diffusers>=0.30,<0.32" "peft>=0.10,<0.14"'
    assert what == "what Adversarial Erase needs"
    assert kept.split() == ["numpy==1.26.2", "torch==2.1.2", "transformers==4.30.2"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("there", [{**A1111, "diffusers": "0.31.0", "peft": "0.13.2"}, FORGE])
def test_nothing_is_done_or_said_when_all_is_there(
    install: Callable[..., str], there: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(there) == ""
    assert capsys.readouterr() == ("", "")
    assert "launch" not in sys.modules


def test_a_version_that_the_host_pins_is_left_alone(
    install: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    commands = install({**A1111, "diffusers": "0.20.0"}, "diffusers==0.20.0\ntransformers==4.30.2\n")
    assert 'install "peft>=0.10,<0.14" |' in commands
    assert "diffusers>=" not in commands
    assert "diffusers==0.20.0" in commands
    assert "this web UI pins diffusers 0.20.0" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["requirements_versions.txt", "requirements.txt"])
def test_the_pins_are_those_beside_the_launcher_wherever_it_was_started(
    install: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    root, elsewhere = tmp_path / "webui", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    shutil.copy(FAKE / "launch.py", root)
    (root / name).write_text("transformers==4.30.2\ndiffusers==0.31.0\nsafetensors==0.4.2  # why\ntorch\n")
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("REQS_FILE")
    command, _, kept = install({**CLASSIC, "safetensors": "0.4.2"}).strip().split(" | ")
    assert command == 'install "peft>=0.10,<0.14"'
    assert kept.split() == ["diffusers==0.31.0", "safetensors==0.4.2", "torch==2.6.0+cu126", "transformers==4.30.2"]


def test_nothing_is_installed_into_sd_next(
    install: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "next").mkdir()
    shutil.copy(FAKE / "launch.py", tmp_path / "next")
    (tmp_path / "next" / "installer.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "next"))
    assert install(A1111) == ""
    assert capsys.readouterr() == ("", "")


def test_a_failing_pip_leaves_one_line_to_do_it_by_hand(
    install: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_PIP_FAILS", "1")
    install(A1111)
    assert '-m pip install "diffusers>=0.30,<0.32" "peft>=0.10,<0.14"' in capsys.readouterr().out


def test_it_runs_from_the_launchers_folder_in_a_process_of_its_own(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(FAKE), "FAKE_PIP_LOG": str(tmp_path / "pip.log")}
    result = subprocess.run(
        [sys.executable, str(ROOT / "install.py")], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    # Here all is installed, so it is silent.
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_flag_is_added_to_the_web_uis_parser() -> None:
    parser = argparse.ArgumentParser()
    module = ModuleType("preload")
    exec((ROOT / "preload.py").read_text(encoding="utf-8"), module.__dict__)
    module.preload(parser)
    assert parser.parse_args([]).adversarial_erase_data is None
    assert parser.parse_args(["--adversarial-erase-data", "x"]).adversarial_erase_data == "x"
