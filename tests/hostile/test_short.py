"""Some of each kind: hostile files and requests end within 10 seconds and 1 GB, and say in one line what is wrong."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.bodies import BODIES, Service
from tests.hostile.files import FILES
from tests.hostile.opening import open_hostile
from tests.hostile.samples import Samples, make_samples

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs and timers of the processor"),
]

_FEW = settings(max_examples=3, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
_MORE = settings(_FEW, max_examples=20)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return make_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, samples: Samples) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service"), samples) as service:
        yield service


@pytest.mark.parametrize("kind", FILES)
@_FEW
@given(data=st.data())
def test_a_hostile_file_ends_soon_and_with_one_line(
    kind: str, samples: Samples, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    try:
        open_hostile(data.draw(FILES[kind]), folder, samples)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", BODIES)
@_MORE
@given(data=st.data())
def test_a_hostile_request_is_answered_soon_with_what_is_wrong(
    kind: str, service: Service, data: st.DataObject
) -> None:
    service.ask(data.draw(BODIES[kind]))
