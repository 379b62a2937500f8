"""Requests and forms that nobody should send: each kind is answered with what is wrong with it, never with a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from erasure.errors import LONGEST
from erasure.jobs.order import Wanted, read_order
from erasure.ui.actions import check_order
from erasure.ui.form import controls, read_form
from erasure.ui.page import Page, read_page
from tests.fake_host import FakeHost
from tests.hostile.bodies import HostileBody, Service
from tests.hostile.limits import limits
from tests.hostile.samples import Samples
from tests.loras import random_lora
from tests.test_bounds import short


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Service]:
    root = tmp_path_factory.mktemp("service")
    lora = random_lora(root / "lora.safetensors")
    samples = Samples(tiny_checkpoint, tiny_checkpoint, tiny_checkpoint, tiny_checkpoint, lora)
    with Service(root / "data", samples) as service:
        yield service


@pytest.mark.parametrize("path", ["/jobs", "/concepts", "/measure", "/combine", "/bake", "/jobs/none/pause"])
@pytest.mark.parametrize(
    "content",
    [
        *(b'{"config": {"steps": 1e400}}', b'{"config": {"alpha": Infinity}}', b'{"weight": NaN}'),
        *(b'{"config": {"steps": 123456789012345678901234567890}}', b'{"config": {"steps": ' + b"9" * 9000 + b"}}"),
        *(
            b'{"config": {"erase": ["\\ud800"]}}',
            b'{"name": "a\\u0000b"}',
            b'{"\\udfff": 1}',
            b'{"checkpoint": "\xff"}',
        ),
        *(b"[" * 400_000, b'{"a":' * 150_000, b'{"a": [' + b"0," * 300_000 + b"0]}"),
        *(b"[]", b"null", b"{", b"\xff\xfe"),
    ],
    ids=short,
)
def test_a_body_that_is_no_sound_json_is_a_400(content: bytes, path: str, service: Service) -> None:
    assert service.ask(HostileBody("", "POST", path, content))[0] == "400"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/jobs", {"config": {"erase": [f"c{i}" for i in range(500)]}}),
        ("/jobs", {"config": {"erase": ["church"], "preserve": ["tower"] * 15_000}}),
        ("/jobs", {"config": {"erase": ["x" * 900_000]}}),
        ("/jobs", {"config": {"erase": [["church"]]}}),
        ("/jobs", {"config": [[[[]]]]}),
        ("/jobs", {"config": {"erase": ["church"], "learning_rate": 1e308, "rank": 2**63, "method": {"a": []}}}),
        ("/jobs", {"name": "x" * 900_000, "config": {"erase": ["church"]}}),
        ("/jobs", {"name": "\U0001f600" * 100, "config": {"erase": ["church"]}}),
        ("/jobs", {"checkpoint": "y" * 900_000, "preset": "z" * 300, "quality": "q" * 9000}),
        ("/jobs", {f"field{i}": i for i in range(9000)}),
        ("/jobs", {"config": {f"setting{i}": i for i in range(9000)}}),
        ("/concepts", {"config": {"erase": []}}),
        ("/measure", {"lora": "l" * 900_000}),
        ("/measure", {"lora": ["lora"], "weight": {}, "templates": 5}),
        ("/measure", {"lora": "lora", "weight": 1e308, "erase": [1]}),
        ("/combine", {"loras": ["lora"] * 15_000}),
        ("/combine", {"loras": ["lora"], "rank": 2**62, "erase": ["x" * 900_000]}),
        ("/combine", {"loras": ["lora"], "name": "../x", "preserve": [[]] * 10_000}),
        ("/jobs", {"loras": ["lora"], "rows": 2**62, "config": {"erase": ["x"] * 15_000}}),
        ("/bake", {"loras": ["lora"] * 15_000, "name": "x"}),
        ("/bake", {"loras": ["lora"], "name": "x" * 900_000}),
        ("/bake", {"loras": [{"lora": ["lora"], "weight": {}}, [], 3], "name": "x"}),
        ("/bake", {"loras": [{"lora": "lora", "weight": 1e308}], "name": "x"}),
        ("/bake", {"loras": ["lora"], "name": "../x"}),
    ],
    ids=short,
)
def test_a_body_with_impossible_values_is_a_422(path: str, body: Any, service: Service) -> None:
    assert service.ask(HostileBody("", "POST", path, json.dumps(body).encode()))[0] == "422"


@pytest.mark.parametrize(
    "rules",
    [
        ["lora"] * 15_000,
        [{f"field{i}": i for i in range(300)} for _ in range(50)],
        ["l" * 900_000],
        [{"lora": ["lora"], "weight": {}}, [], 3, None],
        [{"lora": "lora", "weight": 10**400}],
        [{"lora": "lora", "weight": 1e308}],
        [{"lora": "lora", "checkpoint": "c" * 900_000}],
        [{"lora": "../../lora\u0000"}],
        [{"lora": "lora", "checkpoint": "\ud800"}],
    ],
    ids=short,
)
def test_an_impossible_list_of_what_is_always_on_is_refused(rules: Any, service: Service) -> None:
    body = json.dumps({"rules": rules}).encode()
    assert service.ask(HostileBody("", "PUT", "/always-on", body))[0] in ("400", "422")


@pytest.mark.parametrize("name", ["a" * 61, "%F0%9F%98%80" * 30, "𠀀" * 60, "con", "object", "%00", ".."])
def test_a_preset_of_a_name_that_no_file_can_have_is_refused(name: str, service: Service) -> None:
    body = json.dumps({"settings": {"rank": 4}}).encode()
    assert service.ask(HostileBody("", "PUT", f"/presets/{name}", body))[0] in ("404", "422")


def test_an_origin_that_is_none_is_foreign(service: Service) -> None:
    headers = (("content-type", "application/json"), ("origin", "http://["))
    assert service.ask(HostileBody("", "POST", "/jobs", b"{}", headers))[0] == "403"


@pytest.mark.parametrize(
    "values",
    [
        {"erase": "\ud800"},
        {"erase": "a\0b, church"},
        {"erase": ", ".join(f"c{i}" for i in range(500))},
        {"erase": "x" * 100_000},
        {"erase": "church", "steps": float("inf"), "rank": 10**400},
        {"erase": "church", "learning_rate": "1e400", "alpha": "9" * 5000},
        {"erase": "church", "templates": "{}\n" * 3000},
    ],
    ids=short,
)
def test_a_form_with_impossible_values_says_so(values: dict[str, Any], tmp_path: Path, tiny_checkpoint: Path) -> None:
    host = FakeHost(tmp_path, tiny_checkpoint)
    held = {**{name: control.default for name, control in controls().items()}, **values}
    with limits():
        html, may_start = check_order(host, read_order(host, Wanted(settings=read_form(held))))
    assert not may_start
    assert 0 < len(html.encode("utf-8")) < 40 * LONGEST


@pytest.mark.parametrize("message", ["[" * 100_000, '{"serial": 1e400}', '{"value": "\\ud800"}', "\0", "{}"], ids=short)
def test_a_page_that_says_what_makes_no_sense_is_a_new_one(message: str) -> None:
    assert read_page(message) == Page()
