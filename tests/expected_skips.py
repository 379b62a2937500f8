"""Unexpected skips fail CI: a skipped test shows nothing, and nobody reads the list of them.

``expected_skips`` in pyproject.toml holds the beginnings of the reasons for which a test may be skipped.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator, Sequence

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("expected_skips", "beginnings of reasons for which a test may be skipped in CI", type="linelist")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """``@pytest.mark.extras("package", ...)``: left out where a package is missing."""
    for mark in item.iter_markers("extras"):
        missing = [name for name in mark.args if importlib.util.find_spec(name) is None]
        if missing:
            pytest.skip(f"extras: needs {', '.join(missing)}; run python -m tools.extras_environment DIR")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report, collector.config)
    return report


def refuse_skip(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    """In CI, make a skip for a reason that is not expected a failure."""
    # A test that is expected to fail is "skipped" too; its reason is elsewhere.
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = reason_of(report.longrepr)
        if not is_expected(reason, config.getini("expected_skips")):
            report.outcome = "failed"
            report.longrepr = f"skipped, and pyproject.toml's expected_skips do not name the reason: {reason}"


def reason_of(longrepr: object) -> str:
    """Return the reason of a skip, which pytest gives as (file, line, "Skipped: reason")."""
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


def is_expected(reason: str, expected: Sequence[str]) -> bool:
    return any(reason.startswith(beginning) for beginning in expected if beginning)
