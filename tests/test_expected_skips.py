"""In CI a test is skipped for an expected reason, or it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.expected_skips import is_expected

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

def test_passes():
    pass

def test_is_left_out():
    pytest.skip("needs the moon to be full")

@pytest.mark.skip(reason="needs the sun")
def test_is_marked():
    pass

@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail():
    assert False
"""


def outcomes(folder: Path, ci: str, *flags: str, content: str = TESTS) -> str:
    """The closing line of pytest, on tests of their own beside this repository's hooks."""
    (folder / "conftest.py").write_text("from tests.expected_skips import *\n")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q\n")
    (folder / "test_some.py").write_text(content)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *flags, str(folder)]
    environment = {"PYTHONPATH": str(ROOT), "CI": ci, "PATH": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


@pytest.mark.parametrize(
    ("ci", "expected", "summary"),
    [
        ("", "", "1 passed, 2 skipped, 1 xfailed"),
        ("true", "", "1 failed, 1 passed, 1 xfailed, 1 error"),
        ("true", "needs the moon", "1 passed, 1 skipped, 1 xfailed, 1 error"),
    ],
)
def test_in_ci_a_skip_that_is_not_expected_fails(tmp_path: Path, ci: str, expected: str, summary: str) -> None:
    shown = outcomes(tmp_path, ci, "-o", f"expected_skips={expected}")
    assert summary in shown
    assert ("needs the sun" in shown) == bool(ci)


def test_a_file_that_is_skipped_as_a_whole_fails_too(tmp_path: Path) -> None:
    content = "import pytest\npytest.importorskip('no_such_package')\n"
    assert "1 skipped" in outcomes(tmp_path, "", content=content)
    assert "1 error" in outcomes(tmp_path, "true", content=content)


def test_reasons_are_expected_by_their_beginning() -> None:
    assert is_expected("extras: needs nudenet", ["needs a web UI", "extras: "])
    assert not is_expected("it needs a web UI", ["needs a web UI", ""])
