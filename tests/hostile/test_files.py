"""Hostile files end within 10 seconds and 1 GB, with one line, wherever they are given."""

from __future__ import annotations

import shutil
import sys

import pytest
from hypothesis import HealthCheck, given, settings

from tests.hostile.files import FILES, HostileFile
from tests.hostile.opening import open_hostile
from tests.hostile.samples import Samples, make_samples

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs and timers of the processor")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return make_samples(tmp_path_factory.mktemp("samples"))


@settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(file=FILES)
def test_a_hostile_file_ends_soon_and_with_one_line(
    file: HostileFile, samples: Samples, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    try:
        open_hostile(file, folder, samples)
    finally:
        shutil.rmtree(folder)
