"""Sharing and checking LoRAs over HTTP."""

from __future__ import annotations

import io
import json
import threading
import time
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
from tests.fake_hub import TOKEN, FakeHub, hub_with_login
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


# --- uploading


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with hub_with_login(monkeypatch) as served:
        yield served


REPO = "zoe/no-church"


def offered(client: TestClient, host: FakeHost, **changes: Any) -> dict[str, Any]:
    """Make the folder of a LoRA, and ask what would be uploaded."""
    host.lets_upload = True
    assert post(client, "/share", {"lora": "mine", "license": LICENSE, "overwrite": True}).status_code == 201
    answer = post(client, "/upload/offer", {"lora": "sub/mine", "repo": REPO, **changes})
    assert answer.status_code == 200, answer.text
    values: dict[str, Any] = answer.json()
    return values


def ended(client: TestClient) -> dict[str, Any]:
    """Wait for the end of the upload."""
    for _ in range(2000):
        values: dict[str, Any] = client.get(f"{PREFIX}/upload").json()
        if values["state"] != "uploading":
            return values
        time.sleep(0.01)
    raise AssertionError("the upload does not end")


def test_without_the_switch_of_the_host_nothing_is_uploaded(client: TestClient, host: FakeHost, hub: FakeHub) -> None:
    offer = offered(client, host)
    host.lets_upload = False
    calls = list(hub.calls)
    for answer in (
        post(client, "/upload/offer", {"lora": "mine", "repo": REPO}),
        post(client, "/upload", {"confirm": offer["confirm"]}),
        client.get(f"{PREFIX}/upload"),
        client.delete(f"{PREFIX}/upload"),
    ):
        assert answer.status_code == 409
        assert "whoever runs this program can switch it on for this page with" in answer.json()["problems"][0]
    assert hub.calls == calls


def test_what_was_offered_is_uploaded_once_it_is_confirmed(
    client: TestClient, host: FakeHost, hub: FakeHub, tmp_path: Path
) -> None:
    offer = offered(client, host)
    assert (offer["repo"], offer["public"], offer["account"], offer["lora"]) == (REPO, False, "zoe", "mine")
    assert offer["files"] == ["README.md", "civitai.json", "mine.safetensors"]
    assert hub.files == {}
    assert client.get(f"{PREFIX}/upload").status_code == 404
    begun = post(client, "/upload", {"confirm": offer["confirm"]})
    assert begun.status_code == 202
    done = ended(client)
    assert (done["state"], done["url"], done["share"]) == ("done", f"{hub.url}/{REPO}", 1.0)
    assert hub.private[REPO] is True
    assert set(offer["files"]) < set(hub.files[REPO])
    assert post(client, "/upload", {"confirm": offer["confirm"]}).status_code == 404  # good for once
    for answer in (begun.text, json.dumps(done), json.dumps(offer)):
        assert TOKEN not in answer
        assert str(tmp_path) not in answer
    assert host.calls == []  # it does not take the device


def test_a_folder_that_changed_meanwhile_is_not_uploaded(client: TestClient, host: FakeHost, hub: FakeHub) -> None:
    offer = offered(client, host)
    (host.data_folder() / "shared" / "mine" / "README.md").write_text("something else")
    post(client, "/upload", {"confirm": offer["confirm"]})
    done = ended(client)
    assert done["state"] == "failed"
    assert "has changed since; look again" in done["problem"]
    assert hub.files == {}


def test_an_upload_is_the_only_one_and_is_cancelled_in_the_midst(
    client: TestClient, host: FakeHost, hub: FakeHub
) -> None:
    first, second = offered(client, host), offered(client, host)
    reached, go = threading.Event(), threading.Event()

    def wait(path: str) -> None:
        if path.endswith("/objects/batch"):
            reached.set()
            assert go.wait(20)

    hub.at_call = wait
    assert post(client, "/upload", {"confirm": first["confirm"]}).status_code == 202
    assert reached.wait(20)
    busy = post(client, "/upload", {"confirm": second["confirm"]})
    assert busy.status_code == 409
    assert "a LoRA is being uploaded: cancel that" in busy.json()["problems"][0]
    again = post(client, "/share", {"lora": "mine", "license": LICENSE, "overwrite": True})
    assert "mine is being uploaded" in again.json()["problems"][0]
    assert client.delete(f"{PREFIX}/upload").json()["message"] == "will end now"
    go.set()
    assert ended(client)["state"] == "cancelled"
    assert (hub.commits, hub.puts) == (0, [])
    assert client.delete(f"{PREFIX}/upload").status_code == 409
    assert hub.private[REPO] is True
    assert post(client, "/upload", {"confirm": second["confirm"]}).status_code == 202  # it was not used up
    assert ended(client)["state"] == "done"


def test_what_the_hub_refuses_is_told_without_the_token(client: TestClient, host: FakeHost, hub: FakeHub) -> None:
    offer = offered(client, host)
    hub.refuses["/repos/create"] = (403, f"not with {TOKEN}")
    post(client, "/upload", {"confirm": offer["confirm"]})
    done = ended(client)
    assert done["state"] == "failed"
    assert "no right to write to zoe/no-church" in done["problem"]
    assert TOKEN not in json.dumps(done)
    hub.refuses["/whoami"] = (401, "bad token")
    answer = post(client, "/upload/offer", {"lora": "mine", "repo": REPO})
    assert answer.status_code == 409
    assert "does not accept the login" in answer.json()["problems"][0]


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"lora": "mine"}, 422, "repo: missing"),
        ({"lora": "mine", "repo": "mine"}, 422, "repo: 'mine' is no OWNER/NAME"),
        ({"lora": "mine", "repo": REPO, "public": "yes"}, 422, "public: must be true or false"),
        ({"lora": "mine", "repo": REPO, "token": "x"}, 422, "there is no field 'token'"),
        ({"lora": "../mine", "repo": REPO}, 404, "was shared here; make its folder first"),
        ({"lora": "..", "repo": REPO}, 404, "no LoRA"),
    ],
)
def test_what_cannot_be_offered_is_refused_with_its_reasons(
    client: TestClient, host: FakeHost, hub: FakeHub, body: Any, status: int, problem: str
) -> None:
    host.lets_upload = True
    answer = post(client, "/upload/offer", body)
    assert answer.status_code == status
    assert any(problem in line for line in answer.json()["problems"])
    assert hub.calls == []
    assert post(client, "/upload", {"confirm": "x"}).status_code == 404
    assert post(client, "/upload", {"confirm": 3}).status_code == 422
