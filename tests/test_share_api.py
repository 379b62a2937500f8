"""Sharing and checking LoRAs over HTTP."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from erasure.api.routes import PREFIX
from erasure.jobs.manager import JobManager
from erasure.model.checkpoint import sha256
from tests.api_client import client_of
from tests.fake_host import FakeHost
from tests.loras import random_lora

LICENSE = "creativeml-openrail-m"


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    host = FakeHost(tmp_path, tiny_checkpoint)
    random_lora(host.lora_folder() / "sub" / "mine.safetensors", {"erase": ["church"]})
    return host


@pytest.fixture
def client(host: FakeHost) -> Iterator[TestClient]:
    yield from client_of(host, JobManager(host, start=False))


def post(client: TestClient, path: str, body: dict[str, Any]) -> Any:
    return client.post(f"{PREFIX}{path}", json=body)


def test_a_lora_is_shared_and_downloaded_as_one_file(client: TestClient, host: FakeHost, tmp_path: Path) -> None:
    made = post(client, "/share", {"lora": "mine", "license": LICENSE, "author": "Zoe"})
    assert made.status_code == 201
    assert made.json()["files"] == ["README.md", "civitai.json", "mine.safetensors"]
    assert str(tmp_path) not in made.text
    assert (host.data_folder() / "shared" / "mine" / "README.md").is_file()
    listed = client.get(f"{PREFIX}/share").json()
    assert listed["shared"] == ["mine"]
    assert next(iter(listed["licenses"])) == LICENSE
    answer = client.get(f"{PREFIX}/share/mine.zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert sorted(packed.namelist()) == ["mine/README.md", "mine/civitai.json", "mine/mine.safetensors"]
        assert str(tmp_path).encode() not in packed.read("mine/README.md")


def test_what_was_shared_is_replaced_only_if_asked(client: TestClient) -> None:
    body = {"lora": "mine", "license": LICENSE}
    assert post(client, "/share", body).status_code == 201
    again = post(client, "/share", body)
    assert again.status_code == 409
    assert "is not empty" in again.json()["problems"][0]
    assert post(client, "/share", {**body, "overwrite": True}).status_code == 201


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"lora": "mine"}, "license: is needed"),
        ({"lora": "../../secret", "license": LICENSE}, "there is no"),
        ({"license": LICENSE}, "choose a file of the Lora folder"),
        ({"lora": "mine", "license": LICENSE, "base_model": "x"}, "base_model: 'x' is no OWNER/NAME"),
        ({"lora": "mine", "license": 3}, "license: must be a text"),
        ({"lora": "mine", "license": LICENSE, "overwrite": "yes"}, "overwrite: must be true or false"),
        ({"lora": "mine", "license": LICENSE, "erase": [1]}, "erase: must be"),
        ({"lora": "mine", "license": LICENSE, "run": "/etc"}, "there is no field 'run'"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_its_reasons(client: TestClient, body: Any, problem: str) -> None:
    answer = post(client, "/share", body)
    assert answer.status_code == 422
    assert any(problem in line for line in answer.json()["problems"])


@pytest.mark.parametrize("name", ["other", "..%2Fmine", "%2e%2e%2f%2e%2e%2fmine", "mine%00"])
def test_no_name_leaves_the_folder(client: TestClient, host: FakeHost, name: str) -> None:
    post(client, "/share", {"lora": "mine", "license": LICENSE})
    (host.root / "other.zip").write_bytes(b"secret")
    answer = client.get(f"{PREFIX}/share/{name}.zip")
    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_a_received_file_is_checked(client: TestClient, host: FakeHost, tmp_path: Path) -> None:
    base = {"ss_new_sd_model_hash": sha256(host.checkpoint), "ss_sd_model_name": "a/b/base.ckpt"}
    random_lora(host.lora_folder() / "sent.safetensors", {"erase": ["truck"]}, base)
    found = post(client, "/inspect", {"lora": "sent"}).json()
    assert found["erases"] == ["truck"]
    assert found["same_base"] is True
    assert found["whole"] is True
    assert found["hashes"]["content hash"].startswith("ok")
    assert str(tmp_path) not in json.dumps(found)
    assert post(client, "/inspect", {"lora": "mine"}).json()["same_base"] is None
    assert post(client, "/inspect", {"lora": "none"}).status_code == 422
    bare = post(client, "/inspect", {}).json()
    assert (bare["file"], bare["baked"], bare["whole"]) == (host.checkpoint.name, [], True)
    assert str(tmp_path) not in json.dumps(bare)
    (host.lora_folder() / "bad.safetensors").write_bytes(b"x" * 40)
    assert post(client, "/inspect", {"lora": "bad"}).status_code == 422
