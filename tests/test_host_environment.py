"""The environment with the web UI's own versions is one that the extension would make and accept."""

from __future__ import annotations

from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

from erasure.host.requirements import unmet
from tests.browser.oldest import REQUIREMENTS
from tools.host_environment import PINS, environment_python, install_commands, suite_command, suite_variables

PINNED = {item.name: next(iter(item.specifier)).version for item in map(Requirement, PINS)}


def test_the_web_ui_lacks_nothing_with_these_versions() -> None:
    assert unmet(PINNED.__getitem__) == []


def test_every_pin_is_within_what_the_package_asks_for() -> None:
    needed = [item for item in map(Requirement, requires("adversarial-erase") or []) if "test" not in str(item.marker)]
    asked = {item.name: item.specifier for item in needed}
    outside = [name for name, version in PINNED.items() if name in asked and version not in asked[name]]
    assert "torch" in asked
    assert outside == []


def test_the_page_is_tried_with_the_same_gradio() -> None:
    assert REQUIREMENTS[0] == f"gradio=={PINNED['gradio']}"


def test_torch_comes_first_and_stays_and_only_the_paths_named_are_tested(tmp_path: Path) -> None:
    python = environment_python(tmp_path)
    first, second = install_commands(python)
    assert first[-2:] == ["torch==2.1.2", "numpy==1.26.2"]
    assert {*first} < {*second}
    command = suite_command(python, ["tests/test_api.py"], ["-x"])
    assert command[0] == str(python)
    assert command[-2:] == ["-x", "tests/test_api.py"]
    assert suite_variables(python)["OLDEST_GRADIO_PYTHON"] == str(python)
