"""Sharing and checking LoRAs in the tab, without a browser."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from erasure.bake.baking import bake
from erasure.bake.label import BAKED_KEY
from erasure.bake.task import bake_task
from erasure.errors import JobNotFound
from erasure.jobs.manager import JobManager
from erasure.jobs.sharing import Shared
from erasure.jobs.uploading import UploadOffer, UploadRequest, UploadSnapshot, UploadState
from erasure.lora.relabel import copy_with_metadata
from erasure.ui import actions, share_actions
from erasure.ui.page import Page as Sent
from erasure.ui.run_view import _result
from erasure.ui.runs import runs_html
from erasure.ui.share import shared_html
from erasure.ui.upload import offer_html, upload_html
from tests.drawn import HOSTILE, Page, a_result, a_snapshot
from tests.fake_host import FakeHost
from tests.fake_hub import hub_with_login
from tests.loras import random_lora

LICENSE = "creativeml-openrail-m"
OURS = ("div", "h3", "svg", "circle", "path", "dl", "dt", "dd")


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    return FakeHost(tmp_path, tiny_checkpoint)


@pytest.fixture
def manager(host: FakeHost) -> JobManager:
    return JobManager(host, start=False)


def test_every_run_with_a_lora_and_its_card_can_be_shared() -> None:
    with_lora = a_snapshot("done", id="one", result=a_result())
    assert 'data-ae-action="share" data-ae-value="one"' in runs_html([with_lora])
    assert 'data-ae-action="share" data-ae-value="one"' in _result(with_lora)
    assert "share" not in runs_html([replace(with_lora, result=None)])


def test_a_folder_is_made_and_offered_as_a_download(host: FakeHost, manager: JobManager, tmp_path: Path) -> None:
    random_lora(host.lora_folder() / "sub" / "mine.safetensors", {"erase": ["church"]})
    shown = share_actions.share(
        host, manager, "sub/mine", LICENSE, base_model="", author="", erase=[], unsafe_pictures=False
    )
    assert 'href="adversarial-erase/v1/share/mine.zip"' in shown
    assert "mine is ready to be passed on" in shown
    assert str(tmp_path) not in shown
    assert manager.sharing.names() == ["mine"]
    again = share_actions.share(host, manager, "sub/mine", LICENSE)
    assert "exists and is not empty" in again
    assert "is ready" in share_actions.share(host, manager, "sub/mine", LICENSE, overwrite=True)


def test_what_is_missing_is_said(host: FakeHost, manager: JobManager) -> None:
    random_lora(host.lora_folder() / "mine.safetensors")
    assert "choose a file" in share_actions.share(host, manager, "", LICENSE)
    assert "license: is needed" in share_actions.share(host, manager, "mine", "")
    assert "name the concept" in share_actions.share(host, manager, "mine", LICENSE)


@pytest.mark.parametrize("word", HOSTILE)
def test_a_strangers_words_stay_text(host: FakeHost, word: str) -> None:
    shown = shared_html(Shared(word, (word,), (word,)))
    names = [name for name, _ in Page(shown).elements]
    assert set(names) <= {*OURS, "a", "p"}
    metadata = {"ss_sd_model_name": word, "ss_new_sd_model_hash": "0" * 64}
    random_lora(host.lora_folder() / "mine.safetensors", {"erase": [word]}, metadata)
    found = actions.check_received_lora(host, None, "mine")
    assert {name for name, _ in Page(found).elements} <= {*OURS, "p"}
    label = [{"base": word, "made": word, "loras": [{"name": word, "weight": 1, "erases": [word]}]}]
    told = {BAKED_KEY: json.dumps(label), "modelspec.hash_sha256": word}
    copy_with_metadata(host.checkpoint, host.root / "odd.safetensors", told)
    host.checkpoint = host.root / "odd.safetensors"
    for lora in ("", "mine"):
        found = actions.check_received_lora(host, None, lora)
        assert {name for name, _ in Page(found).elements} <= {*OURS, "p"}


def test_a_received_file_is_checked_against_the_chosen_checkpoint(host: FakeHost) -> None:
    random_lora(host.lora_folder() / "mine.safetensors", {"erase": ["church"]})
    shown = actions.check_received_lora(host, host.checkpoint.name, "mine")
    assert "church" in shown
    assert "does not state the hash of its base" in shown
    assert "Measure says what it does to this checkpoint." in shown
    assert "there is no checkpoint" in actions.check_received_lora(host, "gone.ckpt", "mine")
    bare = actions.check_received_lora(host, None, "")
    assert "Nothing is known to be baked into it" in bare


def test_a_baked_checkpoint_says_what_is_in_it_and_warns_of_using_it_twice(host: FakeHost, tmp_path: Path) -> None:
    mine = random_lora(host.lora_folder() / "mine.safetensors", {"erase": ["church"]}, strength=0.1)
    out = tmp_path / "baked.safetensors"
    for _ in bake(bake_task(host.checkpoint, [(mine, 0.8)], out)):
        pass
    host.checkpoint = out
    shown = actions.check_received_lora(host, out.name, "")
    assert "mine (weight 0.8, erases church), into tiny" in shown
    assert "ok (" in shown
    twice = "This LoRA is among it: in a prompt it would count twice."
    assert twice in actions.check_received_lora(host, out.name, "mine")
    random_lora(host.lora_folder() / "other.safetensors", {"erase": ["car"]}, strength=0.2)
    other = actions.check_received_lora(host, out.name, "other")
    assert "mine (weight 0.8" in other
    assert twice not in other


def an_offer(word: str = "mine", *, public: bool = False) -> UploadOffer:
    return UploadOffer("secret", word, word, public, public, word, ("README.md", word), 2_500_000, "0" * 64)


def an_upload(state: UploadState = "done", word: str = "mine", **changes: Any) -> UploadSnapshot:
    made = UploadSnapshot(state, word, word, False, word, (word,), word, 1, 0.5, word, (word,), "https://hub.test/mine")
    return replace(made, **changes)


def test_what_is_published_is_confirmed_by_a_button_that_says_all_of_it() -> None:
    shown = Page(offer_html(replace(an_offer(public=True), repo="zoe/no-church", account="zoe")))
    assert shown.actions() == [("publish", "secret"), ("publish-not", "")]
    assert "Publish mine in zoe/no-church (public) as zoe" in shown.text
    assert "everybody" in shown.text
    assert "2 files, 2.5 MB: README.md, mine" in shown.text
    private = Page(offer_html(an_offer())).text
    assert "the private repository" in private
    assert "Replaces" not in private


def test_an_upload_is_followed_to_its_link() -> None:
    assert upload_html(None) == ""
    on = Page(upload_html(an_upload("uploading")))
    assert on.all(role="progressbar")[0]["aria-valuenow"] == "50"
    assert on.actions() == [("upload-cancel", "")]
    (link,) = Page(upload_html(an_upload())).all("a")
    assert (link["href"], link["rel"]) == ("https://hub.test/mine", "noopener noreferrer")
    assert Page(upload_html(an_upload(url="javascript:alert(1)"))).all("a") == []
    assert "nothing of it is published" in upload_html(an_upload("cancelled"))
    assert "could not be uploaded" in upload_html(an_upload("failed"))


@pytest.mark.parametrize("word", HOSTILE)
def test_words_of_the_hub_stay_text(word: str) -> None:
    states: tuple[UploadState, ...] = ("uploading", "done", "failed", "cancelled")
    every = (offer_html(an_offer(word)), *(upload_html(an_upload(state, word)) for state in states))
    for shown in every:
        assert {name for name, _ in Page(shown).elements} <= {*OURS, "a", "p", "span", "button", "ul", "li"}


def test_uploading_from_the_tab_asks_first_and_then_publishes(
    host: FakeHost, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_lora(host.lora_folder() / "sub" / "mine.safetensors", {"erase": ["church"]})
    request = UploadRequest("sub/mine", "zoe/no-church")
    with hub_with_login(monkeypatch) as hub:
        assert "Uploading is off here" in share_actions.offer(manager, request)
        host.lets_upload = True
        assert "make its folder first" in share_actions.offer(manager, request)
        assert "choose the LoRA to share" in share_actions.offer(manager, UploadRequest("", "zoe/no-church"))
        share_actions.share(host, manager, "sub/mine", LICENSE, repo="zoe/no-church")
        assert "is no OWNER/NAME" in share_actions.offer(manager, UploadRequest("sub/mine", ""))
        random_lora(host.lora_folder() / "other" / "mine.safetensors", {"erase": ["dog"]})
        assert "other/mine, sub/mine: nobody knows which" in share_actions.offer(manager, request)
        (host.lora_folder() / "other" / "mine.safetensors").unlink()
        shown = Page(share_actions.offer(manager, request))
        assert hub.files == {}
        assert share_actions.publish(manager, Sent(action="publish-not")) == ""
        assert "was not offered" in share_actions.publish(manager, Sent(action="publish", value="guessed"))
        assert manager.uploading.snapshot() is None
        assert share_actions.publish(manager, Sent(action="publish", value=shown.actions()[0][1])) == ""
        for _ in range(2000):
            upload = manager.uploading.snapshot()
            if upload is not None and upload.state != "uploading":
                break
            time.sleep(0.01)
        assert f'href="{hub.url}/zoe/no-church"' in upload_html(upload)
        assert b"load_lora_weights('zoe/no-church'" in hub.files["zoe/no-church"]["README.md"]


@pytest.mark.parametrize("on", [True, False])
def test_the_form_uploads_only_where_the_host_lets_it(host: FakeHost, manager: JobManager, on: bool) -> None:
    pytest.importorskip("gradio")
    from erasure.ui.tab import build_tab

    host.lets_upload = on
    drawn = str(build_tab(host, manager).get_config_file())
    assert ("ae_share_offer" in drawn) is on
    assert ("Repository to upload to" in drawn) is on
    assert ("switch it on for this page with --adversarial-erase-upload" in drawn) is not on


def test_the_lora_of_a_run_is_named_as_in_the_lora_folder(host: FakeHost, manager: JobManager) -> None:
    path = host.lora_folder() / "sub" / "a.b.safetensors"
    found: Any = a_snapshot("done", result=a_result(path=str(path)))
    stand_in: Any = type("Manager", (), {"snapshot": lambda self, id: found})()
    assert actions.lora_of_run(host, stand_in, "x") == "sub/a.b"
    found = a_snapshot("done", result=a_result(path="/elsewhere/x.safetensors"))
    assert actions.lora_of_run(host, stand_in, "x") is None
    with pytest.raises(JobNotFound):
        manager.snapshot("x")
    assert actions.lora_of_run(host, manager, "x") is None
