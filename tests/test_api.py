"""The HTTP API over real requests: what it lets in, what it answers, and that nothing leaves its folder."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")
from fastapi import FastAPI
from fastapi.testclient import TestClient

from erasure.api.answers import without_places
from erasure.api.guard import make_guard
from erasure.api.routes import PREFIX, mount_api
from erasure.config.presets import preset
from erasure.config.settings import settings
from erasure.config.settle import asked_of
from erasure.config.values import config_from_dict
from erasure.host.base import HostCheckpoint
from erasure.host.local import LocalHost
from erasure.jobs.job import ACTIONS, FINISHED
from erasure.jobs.manager import MORE, JobManager
from erasure.jobs.record import Record, write_record
from erasure.lora.file import read_lora
from erasure.run.events import Judged
from erasure.run.folder import RunFolder
from erasure.training.events import Look, Step
from erasure.verdict.verdict import Verdict, lines
from tests.api_client import client_of
from tests.loras import random_lora
from tests.verdicts import a_verdict

pytestmark = pytest.mark.usefixtures("quick_pictures")

QUICK: dict[str, Any] = {
    "erase": ["truck"],
    "vocabulary": "file",
    "vocabulary_file": "words.txt",
    "neighbours": 4,
    "synonym_threshold": 0,
    "synonym_states": 1,
    "sampling_steps": 3,
    "learning_rate": 0.02,
    "clip": 0,
    "steps": 5000,
    "warmup": 0,
    "rank": 2,
}


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> LocalHost:
    words = tmp_path / "data" / "vocabularies" / "words.txt"
    words.parent.mkdir(parents=True)
    words.write_text("truck\nbus\nhouse\ntower\nbell\ndog\n", encoding="utf-8")
    return LocalHost(tiny_checkpoint, tmp_path / "data", "cpu")


@pytest.fixture
def idle(host: LocalHost) -> Iterator[TestClient]:
    """The API over a manager that never begins a job."""
    yield from client_of(host, JobManager(host, start=False))


@pytest.fixture
def live(host: LocalHost) -> Iterator[TestClient]:
    yield from client_of(host, JobManager(host))


def post(client: TestClient, path: str, body: Any = None, **more: Any) -> Any:
    return client.post(f"{PREFIX}{path}", json=body if body is not None else {}, **more)


def get(client: TestClient, path: str, **more: Any) -> Any:
    return client.get(f"{PREFIX}{path}", **more)


def follow(client: TestClient, id: str, until: Any, seconds: float = 240) -> dict[str, Any]:
    end, version = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        job: dict[str, Any] = get(client, f"/jobs/{id}/events?since={version}&timeout=5").json()
        if until(job):
            return job
        version = job["version"]
    raise AssertionError(f"still {job['state']}: {job['message']} {job['problem']}")


# --- a job from beginning to end


def test_a_job_is_followed_paused_resumed_and_stopped_and_its_files_downloaded(
    live: TestClient, host: LocalHost, tmp_path: Path
) -> None:
    created = post(live, "/jobs", {"name": "no-truck", "config": QUICK})
    assert created.status_code == 201
    id = created.json()["id"]
    follow(live, id, lambda job: job["step"] >= 1)
    assert post(live, f"/jobs/{id}/pause").json()["state"] in ("pausing", "paused")
    paused = follow(live, id, lambda job: job["state"] == "paused")
    assert set(paused["actions"]) == set(ACTIONS["paused"])
    assert live.delete(f"{PREFIX}/jobs/{id}").status_code == 409
    assert post(live, f"/jobs/{id}/resume").status_code == 200
    follow(live, id, lambda job: job["step"] > paused["step"])
    assert post(live, f"/jobs/{id}/stop").status_code == 200
    job = follow(live, id, lambda job: job["state"] in FINISHED)
    assert job["state"] == "stopped", job["problem"]
    assert paused["step"] < job["step"] < job["steps"]
    name = job["result"]["name"]
    lora = get(live, f"/jobs/{id}/lora")
    assert f"{name}.safetensors" in lora.headers["content-disposition"]
    assert lora.content == (host.lora_folder() / f"{name}.safetensors").read_bytes()
    (tmp_path / "downloaded.safetensors").write_bytes(lora.content)
    assert read_lora(tmp_path / "downloaded.safetensors")
    preview = get(live, f"/jobs/{id}/preview/{job['previews'][0]}.png")
    assert preview.headers["content-type"] == "image/png"
    assert preview.content.startswith(b"\x89PNG")
    assert [each["id"] for each in get(live, "/jobs").json()["jobs"]] == [id]
    assert str(tmp_path) not in json.dumps([job, get(live, "/jobs").json()])
    assert live.delete(f"{PREFIX}/jobs/{id}").json() == {"id": id, "deleted": True}
    assert get(live, f"/jobs/{id}").status_code == 404
    assert (host.lora_folder() / f"{name}.safetensors").is_file()


def test_a_discarded_job_is_gone(idle: TestClient) -> None:
    id = post(idle, "/jobs", {"config": QUICK}).json()["id"]
    assert post(idle, f"/jobs/{id}/pause").status_code == 409
    assert post(idle, f"/jobs/{id}/discard").json() == {"id": id, "discarded": True}
    assert post(idle, f"/jobs/{id}/discard").status_code == 404


def test_a_verdict_is_answered_with_what_follows_from_it_and_what_is_left_can_be_trained_on(host: LocalHost) -> None:
    id = _judged_job(host, a_verdict(left=3, step=4))
    for idle in client_of(host, JobManager(host, start=False)):
        job = get(idle, f"/jobs/{id}").json()
        assert job["verdict"] == {
            **json.loads(json.dumps(a_verdict(left=3, step=4).to_dict())),
            "gone": False,
            "left": ["church"],
            "hurt": ["tower"],
            "kept_share": 2 / 3,
            "lines": lines(a_verdict(left=3)),
        }
        assert job["series"]["recognised church"] == [[4, 0.75]]
        assert job["series"]["kept"] == [[4, 0.5]]
        assert job["actions"] == ["train-on", "delete"]
        assert "verdict" not in get(idle, "/jobs").json()["jobs"][0]
        trained = post(idle, f"/jobs/{id}/train-on").json()
        assert (trained["state"], trained["steps"], trained["config"]["steps"]) == ("queued", 4 + MORE, 4 + MORE)
        assert post(idle, f"/jobs/{id}/train-on").status_code == 409


def test_a_job_of_which_nothing_is_left_cannot_be_trained_on(host: LocalHost) -> None:
    id = _judged_job(host, a_verdict(step=4))
    for idle in client_of(host, JobManager(host, start=False)):
        assert get(idle, f"/jobs/{id}").json()["verdict"]["gone"] is True
        refused = post(idle, f"/jobs/{id}/train-on")
        assert refused.status_code == 409
        assert "train-on is not possible now" in refused.json()["problems"][0]


def _judged_job(host: LocalHost, verdict: Verdict) -> str:
    """The id of a job of an earlier process that is done, after four updates and a look."""
    folder = RunFolder(host.data_folder() / "runs" / "old")
    config = config_from_dict({"erase": ["church"], "steps": 4})
    out, checkpoint = host.lora_folder() / "gone.safetensors", host.checkpoints()[0].path
    write_record(folder, Record("gone", str(checkpoint), str(out), config.to_dict(), asked_of(config), 1.0, "done"))
    folder.log(Step(4, 4, 1.0, 0.5, ("church",), ("bus",), 1e-4, 32, 4.0))
    folder.log(Look(4, {"church": (3, 4)}, 0.5))
    folder.log(Judged(4, verdict))
    return folder.path.name


def test_a_poll_waits_for_news_and_no_longer(idle: TestClient) -> None:
    job = post(idle, "/jobs", {"config": QUICK}).json()
    path = f"/jobs/{job['id']}/events?since={job['version']}"
    start = time.monotonic()
    assert get(idle, f"{path}&timeout=1").json()["version"] == job["version"]
    assert time.monotonic() - start >= 1
    threading.Timer(0.3, lambda: post(idle, f"/jobs/{job['id']}/discard")).start()
    start = time.monotonic()
    assert get(idle, f"{path}&timeout=20").status_code == 404
    assert time.monotonic() - start < 10
    assert get(idle, f"/jobs/{job['id']}/events?since=soon").status_code == 422


def test_a_poll_does_not_hold_up_a_server_that_is_told_to_end(host: LocalHost) -> None:
    manager, app = JobManager(host, start=False), FastAPI()
    mount_api(app, manager, host)
    client = TestClient(app)
    job = post(client, "/jobs", {"config": QUICK}).json()
    server = SimpleNamespace(should_exit=False)
    app.blocks = SimpleNamespace(server=server)  # type: ignore[attr-defined]  # as gradio keeps it
    threading.Timer(0.3, lambda: setattr(server, "should_exit", True)).start()
    start = time.monotonic()
    assert get(client, f"/jobs/{job['id']}/events?since={job['version']}&timeout=20").json()["id"] == job["id"]
    assert time.monotonic() - start < 10
    manager.close()


# --- what is asked for


def test_every_problem_is_listed_at_once_and_nothing_is_queued(idle: TestClient) -> None:
    body = {
        "checkpoint": "other",
        "name": "a/b",
        "preset": "objekt",
        "quality": "best",
        "confg": {},
        "config": {"erase": [], "stepz": 3, "rank": -1, "learning_rate": "fast"},
    }
    answer = post(idle, "/jobs", body)
    assert answer.status_code == 422
    listed = "\n".join(answer.json()["problems"])
    for word in ("'confg'", "'other'", "'a/b'", "'objekt'", "'best'", "erase", "'stepz'", "rank", "learning_rate"):
        assert word in listed
    assert get(idle, "/jobs").json() == {"jobs": []}


@pytest.mark.parametrize("field", ["checkpoint", "name", "preset", "quality", "config"])
def test_fields_of_the_wrong_kind_are_named(idle: TestClient, field: str) -> None:
    answer = post(idle, "/jobs", {"config": QUICK, field: [1]})
    assert answer.status_code == 422
    assert [problem for problem in answer.json()["problems"] if problem.startswith(f"{field}:")]


def test_preset_quality_and_config_add_up(idle: TestClient) -> None:
    put = {"description": "mine", "settings": {"steps": 10, "rank": 3}}
    assert idle.put(f"{PREFIX}/presets/mine", json=put).status_code == 200
    config = {name: value for name, value in QUICK.items() if name not in ("steps", "rank")}
    job = post(idle, "/jobs", {"preset": "mine", "quality": "thorough", "config": config}).json()
    assert (job["config"]["steps"], job["config"]["rank"], job["name"]) == (20, 3, "erase-truck")
    again = post(idle, "/jobs", {"preset": "mine", "config": {**config, "rank": 5}}).json()
    assert (again["config"]["steps"], again["config"]["rank"], again["name"]) == (10, 5, "erase-truck-2")


def test_quick_is_the_measured_preset_of_a_kind(idle: TestClient) -> None:
    body = {"preset": "object", "quality": "quick", "config": {"erase": ["truck"]}}
    job = post(idle, "/jobs", body).json()
    assert job["asked"] == {**preset("quick").settings, "erase": ["truck"]}
    listed = {each["name"]: each["qualities"] for each in get(idle, "/presets").json()["presets"]}
    assert (listed["style"], listed["person"]) == (["quick", "normal", "thorough"], ["normal", "thorough"])
    for wrong in ({**body, "preset": "person"}, {"quality": "quick", "config": {"erase": ["truck"]}}):
        answer = post(idle, "/jobs", wrong)
        assert answer.status_code == 422
        (problem,) = answer.json()["problems"]
        assert "choose one of normal, thorough" in problem
    assert post(idle, "/jobs", {"quality": "thorough", "config": QUICK}).json()["asked"]["steps"] == QUICK["steps"]


def test_a_job_says_what_was_asked_for_what_is_used_and_what_has_no_effect(idle: TestClient, host: LocalHost) -> None:
    config = {"erase": ["truck"], "vocabulary": "file", "vocabulary_file": "words.txt", "method": "uce", "steps": 500}
    job = post(idle, "/jobs", {"config": config}).json()
    assert job["asked"] == config
    assert (job["config"]["steps"], job["config"]["layers"]) == (1, "xattn_kv")
    assert job["notes"] == ["steps: 500 was asked for; method uce works in one step"]
    assert get(idle, f"/jobs/{job['id']}").json()["asked"] == config
    record = json.loads((host.data_folder() / "runs" / job["id"] / "job.json").read_text(encoding="utf-8"))
    assert (record["asked"]["steps"], record["config"]["steps"]) == (500, 1)
    answer = post(idle, "/jobs", {"config": {"erase": ["truck"], "method": "esd-u", "layers": "xattn"}})
    assert answer.json()["problems"] == ["layers: 'xattn' does not go with method esd-u, which needs 'noxattn'"]


def test_a_checkpoint_is_chosen_by_title_or_name_and_never_by_path(
    idle: TestClient, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    assert get(idle, "/checkpoints").json() == {
        "checkpoints": [{"title": "tiny.safetensors", "file": "tiny.safetensors"}],
        "current": "tiny.safetensors",
    }
    hashed = ("tiny.safetensors [0123abcd]", "tiny [0123abcd]")
    for n, name in enumerate((None, "tiny", "tiny.safetensors", *hashed)):
        body = {"checkpoint": name, "name": f"n{n}", "config": QUICK}
        assert post(idle, "/jobs", body).json()["checkpoint"] == "tiny.safetensors"
    for path in (str(tiny_checkpoint), "../tiny.safetensors", ""):
        answer = post(idle, "/jobs", {"checkpoint": path, "name": "other", "config": QUICK})
        assert answer.status_code == 422
        assert [problem for problem in answer.json()["problems"] if "there is no checkpoint" in problem]


def test_a_hash_in_a_title_may_be_left_out_but_not_be_another(
    idle: TestClient, host: LocalHost, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = [HostCheckpoint("tiny.safetensors [0123abcd99]", tiny_checkpoint)]
    monkeypatch.setattr(host, "checkpoints", lambda: offered)
    for n, name in enumerate((offered[0].title, "tiny.safetensors", "tiny")):
        body = {"checkpoint": name, "name": f"n{n}", "config": QUICK}
        assert post(idle, "/jobs", body).json()["checkpoint"] == "tiny.safetensors"
    answer = post(idle, "/jobs", {"checkpoint": "tiny.safetensors [ffffffff]", "name": "other", "config": QUICK})
    assert answer.status_code == 422
    assert "there is no checkpoint" in answer.json()["problems"][0]


def test_a_vocabulary_is_one_of_the_programs_own(idle: TestClient, tmp_path: Path) -> None:
    secret = tmp_path / "data" / "secret.txt"
    secret.write_text("password\nbus\n", encoding="utf-8")
    for name in (str(secret), "../secret.txt", "secret.txt"):
        for path in ("/jobs", "/concepts"):
            answer = post(idle, path, {"config": {**QUICK, "vocabulary_file": name}})
            assert answer.status_code == 422
            assert "words.txt" in answer.json()["problems"][0]
    job = post(idle, "/jobs", {"config": QUICK}).json()
    assert job["config"]["vocabulary_file"] == "words.txt"


def test_a_taken_name_is_refused_and_a_free_one_suggested(idle: TestClient, host: LocalHost) -> None:
    host.lora_folder().mkdir(parents=True)
    (host.lora_folder() / "erase-truck.safetensors").write_bytes(b"")
    assert "already" in post(idle, "/jobs", {"name": "erase-truck", "config": QUICK}).json()["problems"][0]
    assert post(idle, "/jobs", {"config": QUICK}).json()["name"] == "erase-truck-2"


def test_concepts_are_listed(idle: TestClient) -> None:
    answer = post(idle, "/concepts", {"config": QUICK})
    assert answer.status_code == 200
    target = answer.json()["targets"][0]
    assert target["target"] == "truck"
    assert {candidate["text"] for candidate in target["preserved"]} <= {"bus", "house", "tower", "bell", "dog"}
    assert {type(candidate["drawn_as_target"]) for candidate in target["preserved"]} == {bool}
    stripped = post(idle, "/concepts", {"config": {**QUICK, "erase": ["(truck:1.2)"]}}).json()
    assert stripped["targets"] == answer.json()["targets"]
    assert any("(truck:1.2)" in note for note in stripped["notes"])
    assert not any("(truck:1.2)" in note for note in answer.json()["notes"])
    wrong = post(idle, "/concepts", {"config": {"rank": -1, "erase": []}, "name": "x"}).json()["problems"]
    assert len(wrong) == 3


def test_schema_describes_every_setting(idle: TestClient) -> None:
    schema = get(idle, "/schema").json()
    assert list(schema["properties"]) == list(settings())
    assert schema["properties"]["rank"] == {
        "type": "integer",
        "description": settings()["rank"].help,
        "default": 0,
        "minimum": 0,
        "maximum": 512,
        "x-group": "lora",
        "x-usual": "4 to 64",
    }
    assert schema["properties"]["layers"]["enum"][0] == "xattn"


def test_presets_are_listed_saved_and_deleted(idle: TestClient) -> None:
    listed = get(idle, "/presets").json()
    assert listed["kinds"] == ["object", "style", "person", "nudity"]
    assert all(preset["bundled"] for preset in listed["presets"])
    put = {"description": "", "settings": {"rank": 3}}
    assert idle.put(f"{PREFIX}/presets/My own", json=put).json()["bundled"] is False
    assert idle.put(f"{PREFIX}/presets/My own", json=put).status_code == 409
    assert idle.put(f"{PREFIX}/presets/My own", json={**put, "overwrite": True}).status_code == 200
    assert idle.put(f"{PREFIX}/presets/object", json=put).status_code == 422
    wrong = idle.put(f"{PREFIX}/presets/x", json={"settings": {"stepz": 1, "rank": -1}, "text": ""})
    assert wrong.status_code == 422
    wrong_settings: tuple[Any, ...] = (False, [], "", 0, None)
    for given in wrong_settings:
        bad = idle.put(f"{PREFIX}/presets/My own", json={"settings": given, "overwrite": True})
        assert bad.status_code == 422
        assert "must be an object" in bad.json()["problems"][0]
    assert get(idle, "/presets").json()["presets"][-1]["settings"] == {"rank": 3}
    assert get(idle, "/presets").json()["presets"][-1]["name"] == "My own"
    assert idle.delete(f"{PREFIX}/presets/object").status_code == 422
    assert idle.delete(f"{PREFIX}/presets/My own").status_code == 200
    assert idle.delete(f"{PREFIX}/presets/My own").status_code == 404


# --- measuring a LoRA


def measured(client: TestClient) -> dict[str, Any]:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        shown: dict[str, Any] = get(client, "/measure").json()
        if shown["state"] != "measuring":
            return shown
        time.sleep(0.05)
    raise AssertionError(shown)


def test_a_lora_is_measured_and_the_verdict_fetched(
    live: TestClient, host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("erasure.concepts.vocabulary.WORDS", tmp_path / "data" / "vocabularies" / "words.txt")
    random_lora(host.lora_folder() / "sub" / "mine.safetensors", {"erase": ["church"], "synonym_threshold": 0.0})
    assert get(live, "/measure").status_code == 404
    assert live.delete(f"{PREFIX}/measure").status_code == 409
    begun = post(live, "/measure", {"lora": "sub/mine", "preserve": ["house"], "weight": 0.5})
    assert begun.status_code == 202, begun.json()
    assert (begun.json()["state"], begun.json()["lora"]) == ("measuring", "mine.safetensors")
    done = measured(live)
    assert (done["state"], done["problem"], done["share"], done["weight"]) == ("done", "", 1.0, 0.5)
    assert {finding["concept"] for finding in done["verdict"]["findings"]} >= {"church", "house"}
    assert set(done["verdict"]) >= {"gone", "left", "hurt", "kept_share", "lines"}
    post(live, "/measure", {"lora": "mine", "erase": "truck"})
    assert live.delete(f"{PREFIX}/measure").status_code in (200, 409)
    assert measured(live)["erase"] == ["truck"]
    assert str(tmp_path) not in json.dumps([done, measured(live)])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "lora: choose a file"),
        ({"lora": 3}, "lora: choose a file"),
        ({"lora": "../../words"}, "there is no '../../words' in the Lora folder; there are 'mine'"),
        ({"lora": "mine"}, "does not say what it erases"),
        ({"lora": "mine", "erase": 3}, "erase: 3 is not a text or a list of texts"),
        ({"lora": "mine", "erase": "truck", "templates": ["no place"]}, "templates"),
        ({"lora": "mine", "erase": "truck", "weight": "1"}, "weight: '1' is not a number"),
        ({"lora": "mine", "erase": "truck", "weight": True}, "weight: True is not a number"),
        ({"lora": "mine", "erase": "truck", "weight": 11}, "weight: 11 is not a number from -10 to 10"),
        ({"lora": "mine", "erase": "truck", "preset": "nothing"}, "there is no preset 'nothing'"),
        ({"lora": "mine", "erase": "truck", "checkpoint": "other"}, "there is no checkpoint 'other'"),
        ({"lora": "mine", "erase": "truck", "steps": 3}, "there is no field 'steps'"),
    ],
)
def test_a_measurement_that_cannot_be_made_is_refused_with_its_reasons(
    idle: TestClient, host: LocalHost, body: dict[str, Any], says: str
) -> None:
    random_lora(host.lora_folder() / "mine.safetensors")
    refused = post(idle, "/measure", body)
    assert refused.status_code == 422
    assert says in " ".join(refused.json()["problems"])
    assert str(host.data_folder()) not in refused.text


# --- baking


def baked(client: TestClient) -> dict[str, Any]:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        shown: dict[str, Any] = get(client, "/bake").json()
        if shown["state"] != "baking":
            return shown
        time.sleep(0.05)
    raise AssertionError(shown)


def test_loras_are_baked_into_a_new_checkpoint_of_the_host(live: TestClient, host: LocalHost, tmp_path: Path) -> None:
    for name in ("sub/mine", "other"):
        random_lora(host.lora_folder() / f"{name}.safetensors", strength=0.1)
    assert get(live, "/bake").status_code == 404
    assert live.delete(f"{PREFIX}/bake").status_code == 409
    begun = post(live, "/bake", {"loras": ["mine", {"lora": "other", "weight": -0.5}], "name": "new"})
    assert begun.status_code == 202, begun.json()
    assert begun.json()["loras"] == [
        {"lora": "mine.safetensors", "weight": 1.0},
        {"lora": "other.safetensors", "weight": -0.5},
    ]
    done = baked(live)
    assert (done["state"], done["problem"], done["share"], done["name"]) == ("done", "", 1.0, "new.safetensors")
    assert done["layers"] == 20
    assert 0 < done["rounding"] < 1e-4
    titles = [one["title"] for one in get(live, "/checkpoints").json()["checkpoints"]]
    assert titles == ["tiny.safetensors", "checkpoints/new.safetensors"]
    assert (host.data_folder() / "checkpoints" / "new.safetensors").is_file()
    again = post(live, "/bake", {"loras": ["mine"], "name": "new"})
    assert again.status_code == 409
    assert "exists" in again.json()["problems"][0]
    assert str(tmp_path) not in json.dumps([done, again.json()])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "loras: must be a list"),
        ({}, "name: missing"),
        ({"loras": [], "name": "x"}, "loras: must be a list"),
        ({"loras": "mine", "name": "x"}, "loras: must be a list"),
        ({"loras": [3], "name": "x"}, "lora: choose a file"),
        ({"loras": ["../../words"], "name": "x"}, "there is no '../../words' in the Lora folder"),
        (
            {"loras": [{"lora": "mine", "weight": "1"}], "name": "x"},
            "the weight '1' of mine",
        ),
        ({"loras": [{"lora": "mine", "wight": 1}], "name": "x"}, "did you mean 'weight'"),
        ({"loras": ["mine", "mine"], "name": "x"}, "is given more than once"),
        ({"loras": ["mine"], "name": "../x"}, "the checkpoint cannot be called '../x'"),
        ({"loras": ["mine"], "name": ""}, "it is empty"),
        ({"loras": ["mine"], "name": "x", "checkpoint": "other"}, "there is no checkpoint 'other'"),
        ({"loras": ["mine"], "name": "x", "overwrite": True}, "there is no field 'overwrite'"),
    ],
)
def test_what_cannot_be_baked_is_refused_with_its_reasons(
    idle: TestClient, host: LocalHost, body: dict[str, Any], says: str
) -> None:
    random_lora(host.lora_folder() / "mine.safetensors")
    refused = post(idle, "/bake", body)
    assert refused.status_code == 422
    assert says in " ".join(refused.json()["problems"])
    assert str(host.data_folder()) not in refused.text


# --- combining


def test_loras_are_combined_into_a_new_one_of_the_lora_folder(
    live: TestClient, host: LocalHost, tmp_path: Path
) -> None:
    for name in ("sub/mine", "other"):
        random_lora(host.lora_folder() / f"{name}.safetensors", {"erase": [name[-4:]]})
    assert get(live, "/combine").status_code == 404
    assert live.delete(f"{PREFIX}/combine").status_code == 409
    body = {"loras": ["mine", {"lora": "other", "weight": 0.5}], "name": "new", "rank": 1, "erase": "bell, dog"}
    begun = post(live, "/combine", body)
    assert begun.status_code == 202, begun.json()
    end = time.monotonic() + 60
    while (done := get(live, "/combine").json())["state"] == "combining" and time.monotonic() < end:
        time.sleep(0.02)
    assert (done["state"], done["problem"], done["share"], done["name"]) == ("done", "", 1.0, "new.safetensors")
    assert (done["rank"], done["erases"]) == (1, ["mine", "ther", "bell", "dog"])
    assert 0 < done["left_out"] < 1
    assert read_lora(host.lora_folder() / "new.safetensors")
    assert get(live, "/combine/pictures.png").status_code == 404
    again = post(live, "/combine", body)
    assert (again.status_code, again.json()["problems"][0][:5]) == (422, "name:")
    assert str(tmp_path) not in json.dumps([done, again.json()])


def test_a_job_can_start_from_loras_of_the_folder(idle: TestClient, host: LocalHost) -> None:
    for name in ("church", "truck"):
        random_lora(host.lora_folder() / f"{name}.safetensors", {"erase": [name], "vocabulary": "styles"})
    body = {"loras": ["church", {"lora": "truck", "weight": 0.5}], "rows": 200, "name": "both",
            "config": {"preserve": "dog", "seed": 7, "vocabulary": "file", "vocabulary_file": "words.txt"}}  # fmt: skip
    created = post(idle, "/jobs", body)
    assert created.status_code == 201, created.json()
    job = created.json()
    assert (job["name"], job["config"]["erase"], job["config"]["preserve"]) == ("both", ["church", "truck"], ["dog"])
    assert (job["config"]["seed"], job["config"]["vocabulary_file"], job["config"]["rank"]) == (7, "words.txt", 4)
    assert "training starts from church (weight 1), truck (weight 0.5)" in job["notes"]


def test_pictures_of_a_combination_need_a_checkpoint(idle: TestClient, host: LocalHost) -> None:
    random_lora(host.lora_folder() / "mine.safetensors", {"erase": ["church"]})
    for more, says in (({"pictures": 1}, "true or false"), ({"pictures": True, "checkpoint": "gone"}, "no checkpoint")):
        refused = post(idle, "/combine", {"loras": ["mine"], **more})
        assert refused.status_code == 422
        assert says in refused.json()["problems"][0]


@pytest.mark.parametrize("path", ["/combine", "/jobs"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"loras": []}, "loras: must be a list"),
        ({"loras": "mine"}, "loras: must be a list"),
        ({"loras": None}, "loras: must be a list"),
        ({"loras": [3]}, "lora: choose a file"),
        ({"loras": ["../../words"]}, "there is no '../../words' in the Lora folder"),
        ({"loras": [{"lora": "mine", "wight": 1}]}, "did you mean 'weight'"),
        ({"loras": [{"lora": "mine", "weight": 0}]}, "changes nothing; leave it out"),
        ({"loras": ["mine", "mine"]}, "is given more than once"),
        ({"loras": ["mine"], "rank": "8"}, "rank: '8' is not a whole number"),
        ({"loras": ["mine"], "name": "../x"}, "the LoRA cannot be called '../x'"),
        ({"loras": ["mine"], "name": "mine"}, "there is a LoRA 'mine' already"),
        ({"loras": ["mine"], "overwrite": True}, "there is no field 'overwrite'"),
    ],
)
def test_what_cannot_be_combined_is_refused_with_its_reasons(
    idle: TestClient, host: LocalHost, path: str, body: dict[str, Any], says: str
) -> None:
    random_lora(host.lora_folder() / "mine.safetensors", {"erase": ["church"]})
    refused = post(idle, path, {"name": "x", **body})
    assert refused.status_code == 422
    assert says in " ".join(refused.json()["problems"])
    assert str(host.data_folder()) not in refused.text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"rows": 0}, "rows: 0 is not a whole number"),
        ({"rows": [1]}, "rows: "),
        ({"checkpoint": "other"}, "there is no checkpoint 'other'"),
        ({"loras": ["foreign"]}, "foreign cannot be refined without saying what is erased"),
        ({"config": {"vocabulary_file": "/etc/passwd"}}, "vocabulary_file"),
        ({"config": {"erase": 3}}, "erase: must be a text or a list of texts"),
        ({"config": {"sed": 3}}, "did you mean 'seed'"),
        ({"preset": "object"}, "there is no field 'preset'"),
    ],
)
def test_what_cannot_be_refined_is_refused_with_its_reasons(
    idle: TestClient, host: LocalHost, more: dict[str, Any], says: str
) -> None:
    random_lora(host.lora_folder() / "mine.safetensors", {"erase": ["church"]})
    random_lora(host.lora_folder() / "foreign.safetensors")
    refused = post(idle, "/jobs", {"loras": ["mine"], "name": "x", **more})
    assert refused.status_code == 422
    assert says in " ".join(refused.json()["problems"])
    assert str(host.data_folder()) not in refused.text


# --- requests that make no sense


@pytest.mark.parametrize("id", ["..", "%2e%2e", "..%2Fdata", ".hidden", "a%5Cb", "C:x", "nothing", "a%00b"])
@pytest.mark.parametrize("path", ["", "/events", "/lora", "/preview/0.png"])
def test_ids_that_are_no_jobs_are_not_found(idle: TestClient, id: str, path: str) -> None:
    answer = get(idle, f"/jobs/{id}{path}")
    assert answer.status_code in (404, 405)
    assert "problems" in answer.json() or "detail" in answer.json()


def test_steps_that_are_no_previews_are_not_found(idle: TestClient) -> None:
    id = post(idle, "/jobs", {"config": QUICK}).json()["id"]
    for step in ("7", "-1", "..", "x", "%2e%2e%2frun", "9" * 30):
        assert get(idle, f"/jobs/{id}/preview/{step}.png").status_code == 404
    assert get(idle, f"/jobs/{id}/lora").status_code == 404


def test_only_json_objects_are_taken(idle: TestClient) -> None:
    url = f"{PREFIX}/jobs"
    assert idle.post(url, data={"config": "{}"}).status_code == 415
    assert idle.post(url, content="{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert idle.post(url).status_code == 415
    kind = {"Content-Type": "application/json"}
    for text in ("{", "[]", '"x"', '{"config": {"alpha": NaN}}', "[" * 100_000):
        answer = idle.post(url, content=text, headers=kind)
        assert answer.status_code == 400
        assert answer.json()["problems"]
    assert idle.post(url, content=b'{"name": "' + b"x" * 1_000_000 + b'"}', headers=kind).status_code == 413
    assert idle.post(url, content="", headers=kind).status_code == 422


def test_unknown_routes_and_methods_say_so_in_json(idle: TestClient) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("POST", "/schema", 405),
        ("POST", "/jobs/x/fly", 404),
        ("PUT", "/jobs", 405),
    ):
        answer = idle.request(method, f"{PREFIX}{path}", json={})
        assert answer.status_code == status
        assert answer.json()["problems"]


def test_an_action_takes_no_fields(idle: TestClient) -> None:
    id = post(idle, "/jobs", {"config": QUICK}).json()["id"]
    assert post(idle, f"/jobs/{id}/discard", {"now": True}).status_code == 422
    assert get(idle, f"/jobs/{id}").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"},
        {"Origin": "http://testserver:8080"},
    ],
)
def test_a_page_of_another_site_changes_nothing(idle: TestClient, headers: dict[str, str]) -> None:
    assert post(idle, "/jobs", {"config": QUICK}, headers=headers).status_code == 403
    assert idle.delete(f"{PREFIX}/presets/x", headers=headers).status_code == 403
    assert get(idle, "/jobs").json() == {"jobs": []}


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://testserver"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]
)
def test_the_programs_own_page_and_plain_clients_may(idle: TestClient, headers: dict[str, str]) -> None:
    assert post(idle, "/jobs", {"config": QUICK}, headers=headers).status_code == 201


# --- who may


def _guarded(host: LocalHost, accounts: Any, password: str | None) -> TestClient:
    """An app with a login of gradio's kind: a cookie, and a route that says whether it is a good one."""
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def login_check(request: Request) -> JSONResponse:
        known = password is None or request.cookies.get("access-token") == password
        return JSONResponse(None, 200 if known else 401)

    app = FastAPI()
    app.router.routes.append(Route("/login_check", login_check))
    mount_api(app, JobManager(host, start=False), host, make_guard(app, accounts))
    return TestClient(app)


def test_accounts_are_demanded_by_basic(host: LocalHost) -> None:
    client = _guarded(host, "me:se:cret,you:pässword", None)
    for path in ("/jobs", "/schema", "/jobs/x/lora"):
        answer = get(client, path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert answer.json()["problems"]
    assert post(client, "/jobs", {"config": QUICK}).status_code == 401
    assert get(client, "/jobs", auth=("me", "se:cret")).status_code == 200
    assert get(client, "/jobs", auth=("you", "pässword".encode())).status_code == 200
    for wrong in (("me", "secret"), ("me", ""), ("", ""), ("you", "se:cret")):
        assert get(client, "/jobs", auth=wrong).status_code == 401
    for header in ("Basic", "Basic ===", "Bearer x", "Basic bWU="):
        assert get(client, "/jobs", headers={"Authorization": header}).status_code == 401


def test_the_login_of_the_page_lets_in(host: LocalHost) -> None:
    client = _guarded(host, None, "good")
    assert get(client, "/jobs").status_code == 401
    assert "www-authenticate" not in get(client, "/jobs").headers
    assert get(client, "/jobs", headers={"Cookie": "access-token=bad"}).status_code == 401
    assert get(client, "/jobs", headers={"Cookie": "access-token=good"}).status_code == 200
    both = _guarded(host, {"me": "secret"}, "good")
    assert get(both, "/jobs", headers={"Cookie": "access-token=good"}).status_code == 200
    assert get(both, "/jobs", auth=("me", "secret")).status_code == 200
    assert get(both, "/jobs").status_code == 401


def test_an_open_host_has_an_open_api(host: LocalHost) -> None:
    assert get(_guarded(host, None, None), "/jobs").status_code == 200


def test_a_login_check_that_fails_lets_nobody_in_and_says_so(host: LocalHost) -> None:
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    app = FastAPI()
    app.router.routes.append(Route("/login_check", lambda request: JSONResponse(None, 503)))
    mount_api(app, JobManager(host, start=False), host, make_guard(app))
    answer = get(TestClient(app), "/jobs")
    assert answer.status_code == 401
    assert "answered with status 503" in answer.json()["problems"][0]


def test_mounted_again_the_newest_guard_counts(host: LocalHost) -> None:
    app, manager = FastAPI(), JobManager(host, start=False)
    mount_api(app, manager, host)
    mount_api(app, manager, host, make_guard(app, "me:secret"))
    assert get(TestClient(app), "/jobs").status_code == 401
    assert len([route for route in app.router.routes if getattr(route, "path", "") == PREFIX]) == 1


# --- what is not revealed


def test_places_on_this_machine_are_left_out_of_messages(host: LocalHost, tmp_path: Path) -> None:
    data, loras = host.data_folder(), host.lora_folder()
    assert without_places(f"the folder {loras} cannot be written", host) == "the folder loras cannot be written"
    assert without_places(f"{data / 'runs' / 'x'}: gone", host) == "runs/x: gone"
    assert without_places("see '/srv/all my/models/a b.txt'", host) == "see 'a b.txt'"
    assert without_places("see /srv/models/a.safetensors, 'C:\\Users\\me\\b.txt'", host) == "see a.safetensors, 'b.txt'"
    for text in ("cats and/or dogs, 1/2", "https://example.org/a/b", "AC/DC"):
        assert without_places(text, host) == text
