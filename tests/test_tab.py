"""What the tab does with its form and with runs, without a browser and without gradio."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from erasure.config.concept_texts import written
from erasure.config.values import erase_config
from erasure.errors import JobConflict, JobNotFound
from erasure.host.base import HostCheckpoint
from erasure.jobs.baking import BakeRequest, BakeSnapshot
from erasure.jobs.combining import CombineRequest, CombineSnapshot
from erasure.jobs.job import JobState, Snapshot
from erasure.jobs.measuring import MeasureRequest, MeasureSnapshot
from erasure.jobs.order import Order, Wanted, coming_names, read_order, suggested_name
from erasure.jobs.searching import SearchSnapshot
from erasure.jobs.uploading import UploadSnapshot
from erasure.model.stage import Stage
from erasure.run.folder import RunFolder
from erasure.run.picture_folder import Subject
from erasure.run.preview import RunPreview
from erasure.ui import actions, form_actions
from erasure.ui.form import controls, read_form
from erasure.ui.page import Page, news, read_page
from erasure.ui.run_view import BLOCKS, followed, render
from tests.drawn import (
    HOSTILE,
    a_bake,
    a_combination,
    a_measurement,
    a_plan,
    a_preview,
    a_result,
    a_row,
    a_search,
    a_snapshot,
    a_space,
)
from tests.drawn import Page as Html
from tests.fake_host import FakeHost
from tests.loras import random_lora
from tests.verdicts import a_verdict


class Uploads:
    """A stand-in for the uploads of a host."""

    def __init__(self) -> None:
        self.shown: UploadSnapshot | None = None
        self.told: list[str] = []

    def snapshot(self) -> UploadSnapshot | None:
        return self.shown

    def cancel(self) -> None:
        self.told.append("cancel")


class Manager:
    """A manager that knows some jobs, and remembers what was asked of it."""

    def __init__(self, *jobs: Snapshot, run: RunFolder | None = None):
        self.jobs = list(jobs)
        self.run = run
        self.told: list[Any] = []
        self.fails: Exception | None = None
        self.measured: MeasureSnapshot | None = None
        self.searched: SearchSnapshot | None = None
        self.baked: BakeSnapshot | None = None
        self.combined: CombineSnapshot | None = None
        self.known: dict[str, Any] | None = None
        self.uploading = Uploads()

    def snapshots(self) -> list[Snapshot]:
        return self.jobs

    def snapshot(self, id: str) -> Snapshot:
        for job in self.jobs:
            if job.id == id:
                return job
        raise JobNotFound(f"there is no job {id!r}")

    def preview(self, id: str, step: int | None) -> RunPreview:
        if self.run is None:
            raise JobNotFound("there is no preview")
        return RunPreview(self.run, step)

    def submit(self, request: Any) -> str:
        self.told.append(request)
        return "new"

    def pause(self, id: str) -> None:
        if self.fails:
            raise self.fails
        self.told.append(("pause", id))

    def measurement(self) -> MeasureSnapshot | None:
        return self.measured

    def bake_snapshot(self) -> BakeSnapshot | None:
        return self.baked

    def bake(self, request: Any) -> None:
        if self.fails:
            raise self.fails
        self.told.append(request)

    def cancel_bake(self) -> None:
        self.told.append("cancel the bake")

    def combine_snapshot(self) -> CombineSnapshot | None:
        return self.combined

    def combine_pictures(self) -> bytes | None:
        return None

    def combine(self, request: Any) -> None:
        if self.fails:
            raise self.fails
        self.told.append(request)

    def refine(self, request: Any, checkpoint: Path, rows: Any = None) -> str:
        self.told.append((request, checkpoint, rows))
        return self.jobs[0].id

    def cancel_combine(self) -> None:
        self.told.append("cancel the combination")

    def search_snapshot(self) -> SearchSnapshot | None:
        return self.searched

    def search(self, checkpoint: Path, config: Any) -> None:
        if self.fails:
            raise self.fails
        self.told.append(("search", checkpoint, config))

    def known_concepts(self, checkpoint: Path, config: Any) -> dict[str, Any] | None:
        return self.known

    def cancel_search(self) -> None:
        self.told.append("cancel the search")

    def remedy(self, id: str) -> dict[str, Any]:
        return {"learning_rate": 0.0005}

    def measure(self, request: Any) -> None:
        if self.fails:
            raise self.fails
        self.told.append(request)

    def cancel_measurement(self) -> None:
        self.told.append("cancel")

    def train_on(self, id: str) -> None:
        self.told.append(("train on", id))


@pytest.fixture
def host(tmp_path: Path, tiny_checkpoint: Path) -> FakeHost:
    return FakeHost(tmp_path, tiny_checkpoint)


def held(**values: Any) -> dict[str, Any]:
    """Return what the controls hold once these were changed."""
    return {**{name: control.default for name, control in controls().items()}, **values}


def order(host: FakeHost, name: str = "gone", checkpoint: str | None = None, **values: Any) -> Order:
    title = host.checkpoint.name if checkpoint is None else checkpoint
    return read_order(host, Wanted(title, name, settings=read_form(held(**values))))


def said(html: str) -> str:
    return Html(html).text


# --- what a page sends


@pytest.mark.parametrize(
    "message", [None, "", "{", "[]", "7", '{"serial": "x", "step": 1.5, "tokens": 3, "job": null}']
)
def test_a_message_that_makes_no_sense_is_that_of_a_fresh_page(message: str | None) -> None:
    assert read_page(message) == Page()


def test_a_block_is_news_until_the_page_has_it() -> None:
    made = news(Page(), "chart", "<p>x</p>", state="on")
    assert made is not None
    token = Html(made).all("div", data_ae_block="chart")[0]["data-ae-token"]
    assert news(Page(tokens={"chart": token}), "chart", "<p>x</p>", state="on") is None
    assert news(Page(tokens={"chart": token}), "chart", "<p>x</p>", state="off") is not None
    assert news(Page(tokens={"chart": token}), "chart", "<p>y</p>", state="on") is not None


# --- the live side


def pages(manager: Any, page: Page | None = None) -> tuple[Page, Mapping[str, str | None]]:
    """Return a page after an answer, and the blocks that were drawn."""
    page = page or Page()
    live = render(manager, page)
    tokens = dict(page.tokens)
    for name, html in live.blocks.items():
        if html is not None:
            tokens[name] = Html(html).all("div", data_ae_block=name)[0]["data-ae-token"]
    return replace(page, seen=Html(live.answer).all("div")[0]["data-ae-seen"], tokens=tokens), live.blocks


def test_nothing_is_drawn_again_while_nothing_changes() -> None:
    manager = Manager(a_snapshot())
    page, blocks = pages(manager)
    assert all(blocks.values())
    assert set(pages(manager, page)[1].values()) == {None}


@pytest.mark.parametrize("word", HOSTILE)
def test_a_run_with_a_hostile_name_adds_no_element_to_any_block(word: str) -> None:
    def tags(name: str) -> dict[str, list[str]]:
        config = {"erase": [name], "synonym": [name]}
        given: dict[str, Any] = {"name": name, "message": name, "problem": name, "config": config, "notes": (name,)}
        run = a_snapshot(**given, id=name, checkpoint=name, plan=a_plan(a_space(target=name)))
        done = replace(run, id="done", state="done", result=a_result(name=name), picks=((name, 3),))
        waiting = a_snapshot("queued", id="waiting", name=name)
        found: dict[str, list[str]] = {}
        manager: Any = Manager(run, done, waiting)
        for job in (run.id, done.id):
            for block, html in render(manager, Page(job=job)).blocks.items():
                page = Html(html or "")
                assert not [key for _, a in page.elements for key in a if key.startswith("on")], block
                found.setdefault(block, []).extend(tag for tag, _ in page.elements)
        return found

    assert tags(word) == tags("plain")


def test_a_result_says_when_another_checkpoint_is_selected_than_the_lora_was_made_for() -> None:
    run = a_snapshot("done", result=a_result(), checkpoint="base.safetensors")
    manager: Any = Manager(run)
    page, blocks = pages(manager)
    assert "is selected" not in said(blocks["result"] or "")
    assert "is selected" not in said(render(manager, Page(), Path("base.safetensors")).blocks["result"] or "")
    # Choosing another changes no run, and yet the page has something new to show.
    shown = Html(render(manager, page, Path(HOSTILE[0])).blocks["result"] or "")
    assert f"{HOSTILE[0]} is selected, but this LoRA was made for base.safetensors" in shown.text
    assert not shown.all("img")


def test_a_run_that_ended_before_there_was_a_curve_promises_none() -> None:
    cases: tuple[tuple[JobState, bool], ...] = (("running", True), ("done", False), ("failed", False))
    for state, promised in cases:
        manager: Any = Manager(a_snapshot(state, result=None, series={"erase": ((1, 0.5),)}, config={}))
        assert ("will be drawn here" in said(render(manager, Page()).blocks["chart"] or "")) is promised


def test_only_what_changed_is_drawn_again() -> None:
    manager = Manager(a_snapshot())
    page, _ = pages(manager)
    manager.jobs = [a_snapshot(version=4, series={"erase": ((1, 0.5), (2, 0.4))})]
    _, blocks = pages(manager, page)
    assert [name for name in BLOCKS if blocks[name] is not None] == ["chart"]


def test_a_run_that_is_gone_is_no_longer_shown() -> None:
    manager = Manager(a_snapshot())
    page, _ = pages(manager)
    manager.jobs = []
    _, blocks = pages(manager, page)
    assert "Nothing is running" in said(blocks["status"] or "")


def test_the_run_that_is_on_is_shown_unless_another_was_chosen() -> None:
    new = a_snapshot("queued", id="new", version=9)
    on, past = a_snapshot("paused", id="on"), a_snapshot("done", id="past")
    assert followed([new, on, past], "") == on
    assert followed([new, on, past], "past") == past
    assert followed([new, past], "gone") == new
    assert followed([], "x") is None


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("queued", {"discard"}),
        ("running", {"pause", "stop", "discard"}),
        ("paused", {"resume", "stop", "discard"}),
        ("stopping", set()),
        ("failed", {"resume"}),
        ("done", set()),
    ],
)
def test_buttons_follow_from_the_state(state: JobState, expected: set[str]) -> None:
    _, blocks = pages(Manager(a_snapshot(state)))
    shown = {action for action, value in Html(blocks["status"] or "").actions() if value == "run-1"}
    assert shown == expected


def test_discarding_and_deleting_ask_first() -> None:
    _, blocks = pages(Manager(a_snapshot("running"), a_snapshot("done", id="past")))
    for block, action in (("status", "discard"), ("runs", "delete")):
        buttons = Html(blocks[block] or "").all("button", data_ae_action=action)
        assert buttons
        assert all(button.get("data-ae-confirm") for button in buttons)


def test_a_looked_at_run_does_not_hide_the_one_that_is_on_and_the_queue() -> None:
    manager = Manager(
        a_snapshot("queued", id="next", name="erase-truck"),
        a_snapshot("running", id="on", name="erase-bell"),
        a_snapshot("done", id="past"),
    )
    _, blocks = pages(manager, Page(job="past"))
    shown = Html(blocks["status"] or "")
    assert "erase-bell is running now" in shown.text
    assert "Waiting: erase-truck" in shown.text
    assert ("select", "on") in shown.actions()


def test_the_grid_of_the_chosen_step_is_shown_with_a_selector(tmp_path: Path) -> None:
    protected = [Subject(name, f"a {name}", "protected") for name in ("word 0", "word 1")]
    subjects = [Subject("church", "a church", "erased"), *protected, Subject("word 99", "a word 99", "other")]
    folder = a_preview(tmp_path, 50, *subjects, side=32).folder
    run = a_snapshot(previews=(0, 50, 100), plan=None)
    _, blocks = pages(Manager(run, run=folder), Page(step=50))
    shown = Html(blocks["grid"] or "")
    assert {b["data-ae-value"]: b["aria-pressed"] for b in shown.all("button", data_ae_action="step")} == {
        "0": "false",
        "50": "true",
        "100": "false",
    }
    assert [row["aria-label"] for row in shown.all(role="group")][1:] == ["church", "word 0", "word 1", "word 99"]
    pictures = shown.all("img")
    assert len(pictures) == 16
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in pictures)
    assert [picture["alt"] for picture in pictures[:4]] == [
        "church, before, seed 1",
        "church, before, seed 2",
        "church, after 50 updates, seed 1",
        "church, after 50 updates, seed 2",
    ]
    assert _colour(pictures[0]["src"]) == (0, 0, 255)
    assert _colour(pictures[2]["src"]) == (255, 0, 0)
    assert "church erased" in shown.text
    assert "word 1 protected" in shown.text
    assert "word 99 unrelated" in shown.text


def _colour(url: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) as picture:
        return picture.getpixel((3, 3))


def test_a_sheet_of_an_older_version_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.sheet(50).parent.mkdir()
    Image.new("RGB", (64, 32), "red").save(folder.sheet(50))
    _, blocks = pages(Manager(a_snapshot(previews=(50,), plan=a_plan(a_space())), run=folder))
    (picture,) = Html(blocks["grid"] or "").all("img")
    assert "church, word 0, word 1, word 99" in picture["alt"]
    assert "after 50 updates" in picture["alt"]


def test_pictures_that_cannot_be_read_any_more_are_said_to_be_so(tmp_path: Path) -> None:
    preview = a_preview(tmp_path, 50, Subject("church", "a church", "erased"))
    next(preview.place.parent.glob("*.png")).write_bytes(b"no picture")
    _, blocks = pages(Manager(a_snapshot(previews=(50,)), run=preview.folder))
    assert "cannot be read any more" in said(blocks["grid"] or "")
    assert not Html(blocks["runs"] or "").all("img")


def test_pictures_from_before_are_shown_as_soon_as_they_are_there(tmp_path: Path) -> None:
    folder = a_preview(tmp_path, 50, Subject("church", "a church", "erased")).folder
    _, blocks = pages(Manager(a_snapshot("preparing", previews=()), run=folder))
    assert not Html(blocks["grid"] or "").all("img")
    run = a_snapshot("preparing", previews=(), drew_before=True)
    _, blocks = pages(Manager(run, run=folder))
    shown = Html(blocks["grid"] or "")
    assert [picture["alt"] for picture in shown.all("img")] == ["church, before, seed 1", "church, before, seed 2"]
    assert len(shown.all("span", **{"class": "ae-shot ae-shot-none"})) == 2
    assert "still to come" in shown.text
    _, blocks = pages(Manager(replace(run, state="failed"), run=folder))
    assert "still to come" not in said(blocks["grid"] or "")
    unsafe = replace(run, config=erase_config(erase=("nudity",)).to_dict())
    _, blocks = pages(Manager(unsafe, run=folder))
    assert Html(blocks["grid"] or "").all("details")


def test_a_run_that_prepares_says_what_it_does_and_how_far_that_is() -> None:
    stage = Stage("compares words with church", 40, 100)
    _, blocks = pages(Manager(a_snapshot("preparing", step=0, message=str(stage), stage=stage)))
    shown = Html(blocks["status"] or "")
    assert "compares words with church: 40 of 100" in shown.text
    (bar,) = shown.all(role="progressbar")
    assert (bar["aria-valuenow"], bar["aria-valuemax"], bar["class"]) == ("40", "100", "ae-bar ae-bar-preparing")
    _, blocks = pages(Manager(a_snapshot("preparing", step=0, stage=Stage("loads the checkpoint"))))
    (bar,) = Html(blocks["status"] or "").all(role="progressbar")
    assert "aria-valuenow" not in bar
    assert "ae-moving" in bar["class"]


def test_a_run_that_diverged_offers_settings_that_may_help_instead_of_resuming(host: FakeHost) -> None:
    run = a_snapshot("failed", diverged=True, problem="training diverged", asked={"erase": ["church"], "rank": 3})
    manager: Any = Manager(run)
    _, blocks = pages(manager)
    assert Html(blocks["status"] or "").actions() == [("remedy", "run-1")]
    assert "resume" not in dict(Html(blocks["runs"] or "").actions())
    message, shown, _ = form_actions.load_run(host, manager, "run-1", changed=True)
    assert "with learning_rate 0.0005" in said(message)
    assert shown is not None
    assert (shown["learning_rate"], shown["rank"], shown["erase"]) == ("0.0005", 3, "church")
    _, shown, _ = form_actions.load_run(host, manager, "run-1")
    assert shown is not None
    assert shown["learning_rate"] == "0"


# --- nearby concepts


def test_a_search_is_shown_with_its_count_and_a_way_to_stop_it() -> None:
    manager: Any = Manager()
    _, blocks = pages(manager)
    assert said(blocks["search"] or "") == ""
    manager.searched = a_search()
    live = render(manager, Page())
    assert live.searching
    shown = Html(live.blocks["search"] or "")
    assert "Near church: compares words with church: 40 of 100" in shown.text
    assert shown.actions() == [("search-cancel", "")]
    assert shown.all("div", data_ae_state="searching")
    assert Html(live.blocks["status"] or "").all("div", data_ae_active="1")
    assert actions.act(manager, Page(action="search-cancel")) == ""
    assert manager.told == ["cancel the search"]
    manager.searched = a_search("failed", problem="no room")
    live = render(manager, Page())
    assert not live.searching
    assert "no room" in said(live.blocks["search"] or "")


def test_a_search_begins_with_what_the_form_holds_and_its_problems_are_shown(host: FakeHost) -> None:
    manager: Any = Manager()
    asked = order(host, erase="church", neighbours=5)
    assert actions.search(manager, asked) == ""
    assert manager.told == [("search", host.checkpoint, asked.request().config)]
    assert "rank" in said(actions.search(manager, order(host, erase="church", rank=-1)))
    manager.fails = JobConflict("erase-bell is using the device")
    assert "erase-bell is using" in said(actions.search(manager, asked))
    manager.known = a_space()
    assert actions.known_concepts(manager, asked) == a_space()
    assert actions.known_concepts(manager, order(host, erase="")) is None


def test_runs_have_thumbnails_but_not_of_unsafe_content(tmp_path: Path) -> None:
    folder = a_preview(tmp_path, 50, Subject("church", "a church", "erased")).folder
    unsafe = a_snapshot(id="run-2", previews=(50,), config=erase_config(erase=("nudity",)).to_dict())
    _, blocks = pages(Manager(a_snapshot(previews=(50,)), unsafe, run=folder), Page(job="run-2"))
    assert len(Html(blocks["runs"] or "").all("img")) == 1
    assert Html(blocks["grid"] or "").all("details", data_ae_keep="pictures run-2")


@pytest.mark.parametrize("word", HOSTILE)
def test_a_strangers_words_stay_text(word: str) -> None:
    run = a_snapshot(
        "failed",
        name=word,
        message=word,
        problem=word,
        notes=(word,),
        picks=((word, 1),),
        result=a_result(name=word),
        config=erase_config(erase=(written(word),)).to_dict(),
    )
    _, blocks = pages(Manager(run, a_snapshot("queued", id="other", name=word)), Page(job="run-1"))
    for html in blocks.values():
        shown = Html(html or "")
        assert not shown.all("script")
        assert not [a for _, a in shown.elements if any(name.startswith("on") for name in a)]


# --- the order


def test_an_empty_form_asks_for_a_concept_and_cannot_start(host: FakeHost) -> None:
    html, ready = actions.check_order(host, order(host))
    assert "Name a concept" in said(html)
    assert not ready


def test_a_sound_order_shows_an_estimate_and_can_start(host: FakeHost) -> None:
    html, ready = actions.check_order(host, order(host, erase="church"))
    assert ready
    assert "memory" in said(html)


def test_every_reason_is_shown_beside_the_button(host: FakeHost) -> None:
    html, ready = actions.check_order(host, order(host, name="a/b", erase="church", learning_rate="fast", rank=-1))
    assert not ready
    for part in ("learning_rate", "rank", "a/b"):
        assert part in said(html)


def test_a_concept_that_the_text_encoder_would_cut_off_cannot_start(host: FakeHost) -> None:
    html, ready = actions.check_order(host, order(host, erase="quixotic zephyr " * 40))
    assert not ready
    assert "tokens too long" in said(html)


def test_a_checkpoint_that_went_away_is_named(host: FakeHost) -> None:
    html, ready = actions.check_order(host, order(host, checkpoint="gone.safetensors", erase="church"))
    assert not ready
    assert "gone.safetensors" in said(html)


def test_a_title_is_found_after_its_hash_was_calculated(host: FakeHost) -> None:
    asked = order(host, checkpoint=f"{host.checkpoint.name} [abcdef1234]", erase="church")
    assert asked.request().checkpoint == host.checkpoint


def test_starting_submits_what_the_form_holds(host: FakeHost) -> None:
    manager = Manager()
    html, holds = actions.start(host, manager, order(host, erase="church, bell", steps=30, learning_rate="0.002"))  # type: ignore[arg-type]
    assert "has started" in said(html)
    assert holds == {"started": "new", "waits": "0"}
    (request,) = manager.told
    assert (request.name, request.checkpoint) == ("gone", host.checkpoint)
    assert request.config == erase_config(erase=("church", "bell"), steps=30, learning_rate=0.002)


def test_a_start_that_is_refused_says_why_and_submits_nothing(host: FakeHost) -> None:
    manager = Manager()
    html, _ = actions.start(host, manager, order(host, erase="church", rank=-1))  # type: ignore[arg-type]
    assert "rank" in said(html)
    assert manager.told == []


def test_only_vocabularies_of_the_program_can_be_read(host: FakeHost, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = host.data_folder() / "vocabularies"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("cat\ndog\n")
    for name in ("../../secret.txt", str(tmp_path / "secret.txt"), "none.txt", ".."):
        asked = order(host, erase="church", vocabulary="file", vocabulary_file=name)
        html, ready = actions.check_order(host, asked)
        assert not ready
        assert "vocabulary_file" in said(html)
    asked = order(host, erase="church", vocabulary="file", vocabulary_file="mine.txt")
    assert asked.request().config.vocabulary_file == str(folder / "mine.txt")
    assert actions.check_order(host, asked)[1]


def test_the_suggested_name_avoids_loras_and_jobs_on_their_way(host: FakeHost) -> None:
    host.lora_folder().mkdir(parents=True)
    (host.lora_folder() / "erase-church.safetensors").touch()
    coming = coming_names([a_snapshot("queued", makes="erase-church-2"), a_snapshot("done", makes="erase-church-3")])
    assert suggested_name(host, ["church"], coming) == "erase-church-3"
    assert suggested_name(host, [], coming) == ""
    assert read_order(host, Wanted(settings={"erase": ["church"]}), coming).name == "erase-church-3"


# --- what can be done with a run


def test_an_action_reaches_the_manager_and_its_problems_reach_the_page() -> None:
    manager: Any = Manager(a_snapshot())
    page = Page(action="pause", value="run-1")
    assert actions.act(manager, page) == ""
    assert manager.told == [("pause", "run-1")]
    manager.fails = JobConflict("it is stopping")
    assert "it is stopping" in said(actions.act(manager, page))
    manager.fails = RuntimeError("surprise")
    assert "surprise" in said(actions.act(manager, page))
    assert "reload" in said(actions.act(manager, Page(action="__init__", value="run-1")))


def test_the_card_of_a_run_that_left_something_trains_it_on() -> None:
    run = a_snapshot("done", result=a_result(), verdict=a_verdict(left=3))
    manager: Any = Manager(run)
    _, blocks = pages(manager)
    assert ("train-on", "run-1") in Html(blocks["result"] or "").actions()
    assert "train-on" not in dict(Html(blocks["status"] or "").actions())
    assert actions.act(manager, Page(action="train-on", value="run-1")) == ""
    assert manager.told == [("train on", "run-1")]


def test_the_chart_waits_for_the_first_look_of_a_run_at_work_only() -> None:
    config = erase_config(erase=("church",), look_every=200).to_dict()
    for state, config_, waits in (("running", config, True), ("stopped", config, False), ("running", {}, False),
                                  ("running", {"look_every": "x"}, False)):  # fmt: skip
        _, blocks = pages(Manager(a_snapshot(state, config=config_)))  # type: ignore[arg-type]
        assert ("after about 100 updates." in said(blocks["chart"] or "")) == waits


def test_trying_draws_the_same_seed_without_and_with_the_lora(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def draw(request: Any) -> Image.Image:
        drawn.append(request)
        return Image.new("RGB", (8, 8), "black" if "<lora" in request.prompt else "white")

    monkeypatch.setattr(host, "draw", draw)
    run = a_snapshot("done", result=a_result())
    html = actions.try_it(host, Manager(run), run, "", 7, 0.8)  # type: ignore[arg-type]
    assert [request.prompt for request in drawn] == ["church", "church <lora:erase-church:0.8>"]
    assert [request.seed for request in drawn] == [7, 7]
    assert "100%" in said(html)
    assert len(Html(html).all("img")) == 2


@pytest.mark.parametrize("same", [True, False])
def test_trying_says_when_another_checkpoint_draws_than_the_lora_was_made_for(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    monkeypatch.setattr(host, "draw", lambda request: Image.new("RGB", (8, 8)))
    base = host.checkpoint.name if same else "another.safetensors"
    run = a_snapshot("done", result=a_result(), checkpoint=base)
    text = said(actions.try_it(host, Manager(run), run, "", 7, 1.0))  # type: ignore[arg-type]
    assert ("made for another.safetensors" in text) is not same


def test_trying_is_refused_while_a_job_uses_the_device(host: FakeHost) -> None:
    run, on = a_snapshot("done", result=a_result()), a_snapshot("running", id="on", name="erase-bell")
    html = actions.try_it(host, Manager(on, run), run, "", 7, 1.0)  # type: ignore[arg-type]
    assert "erase-bell is using the device" in said(html)
    assert host.calls == []


# --- what fills the form


def test_a_chip_moves_between_the_two_lists(host: FakeHost) -> None:
    asked = order(host, erase="church", synonym="kirk", preserve="bell")
    move = form_actions.moved
    assert move(Page(action="chip-erase", value="bell"), asked) == {"synonym": "kirk, bell", "preserve": ""}
    assert move(Page(action="chip-protect", value="kirk"), asked) == {"synonym": "", "preserve": "bell, kirk"}
    assert move(Page(action="chip-auto", value="kirk"), asked) == {"synonym": "", "preserve": "bell"}
    assert move(Page(action="chip-nothing", value="kirk"), asked) == {"synonym": "kirk", "preserve": "bell"}


def test_chips_are_stale_once_the_concept_changed_but_not_when_one_was_moved(host: FakeHost) -> None:
    found = form_actions.remember(a_space(), order(host, erase="church"))
    assert "changed since" not in said(form_actions.chips(found, order(host, erase="church", synonym="bell")))
    assert "changed since" in said(form_actions.chips(found, order(host, erase="bell")))
    assert "changed since" in said(form_actions.chips(found, order(host, erase="church", neighbours=7)))


def _judged(host: FakeHost, id: str = "run-1", erase: str = "church", **changes: Any) -> Snapshot:
    space = a_space(preserved=[a_row("castle"), a_row("tower")])
    config = erase_config(erase=(erase,)).to_dict()
    return a_snapshot("done", id=id, config=config, checkpoint=host.checkpoint.name, plan=a_plan(space),
                      verdict=a_verdict(), **changes)  # fmt: skip


def test_chips_are_marked_by_a_run_with_the_same_targets_and_checkpoint_alone(host: FakeHost) -> None:
    asked = order(host, erase="church")
    own, older = _judged(host), _judged(host, "older")
    others = [_judged(host, erase="bell"), replace(own, checkpoint="other.safetensors"), replace(own, verdict=None)]
    assert form_actions.judged_run(others, asked, "run-1") is None
    assert form_actions.judged_run([*others, own, older], asked, "") is own
    assert form_actions.judged_run([*others, own, older], asked, "older") is older


def test_a_run_shows_its_own_chips_until_others_are_measured(host: FakeHost) -> None:
    asked, run = order(host, erase="church"), _judged(host)
    shown = said(form_actions.chips({}, asked, run))
    assert "castle kept" in shown
    assert "tower hurt" in shown
    assert "changed since" not in shown
    assert "changed since" in said(form_actions.chips({}, order(host, erase="church", neighbours=7), run))
    measured = form_actions.remember(a_space(preserved=[a_row("tower"), a_row("dome", difference=0.5)]), asked)
    again = said(form_actions.chips(measured, asked, run))
    assert "castle" not in again
    assert "tower hurt" in again
    assert "dome 0.50" in again


def test_a_kind_sets_the_settings_and_leaves_the_users_concepts() -> None:
    now = held(erase="Ann", preserve="people", rank=64)
    shown, filled = form_actions.with_preset(now, {"anchor": ["person"], "layers": "xattn"}, {})
    assert (shown["erase"], shown["preserve"], shown["anchor"]) == ("Ann", "people", "person")
    assert shown["rank"] == controls()["rank"].default
    again, _ = form_actions.with_preset(shown, {"layers": "noxattn"}, filled)
    assert again["anchor"] == "", "the last kind's anchor makes way"
    mine, _ = form_actions.with_preset({**shown, "anchor": "doll"}, {"layers": "noxattn"}, filled)
    assert mine["anchor"] == "doll", "the user's own anchor stays"
    person = {"anchor": ["person"], "steps_per_concept": 300}
    thorough, filled = form_actions.with_preset({**shown, "anchor": "woman"}, person, filled)
    assert thorough["anchor"] == "woman", "it stays as well where only the quality changed"
    assert form_actions.with_preset({**thorough, "anchor": ""}, person, filled)[0]["anchor"] == ""
    assert form_actions.with_preset(thorough, {"anchor": ["doll"]}, filled)[0]["anchor"] == "doll"


def test_the_settings_of_a_run_fill_the_form(host: FakeHost) -> None:
    asked = {"erase": ["bell"], "rank": 3, "learning_rate": 0.25, "method": "esd-u"}
    config = erase_config(**asked).to_dict()
    manager: Any = Manager(a_snapshot("done", config=config, asked=asked, checkpoint=host.checkpoint.name))
    message, shown, checkpoint = form_actions.load_run(host, manager, "run-1")
    assert shown is not None
    assert (shown["erase"], shown["rank"], shown["learning_rate"]) == ("bell", 3, "0.25")
    assert (shown["method"], shown["layers"]) == ("esd-u", controls()["layers"].default), "not what the method decided"
    assert checkpoint == host.checkpoint.name
    assert "erase-church" in said(message)
    message, shown, checkpoint = form_actions.load_run(host, manager, "gone")
    assert (shown, checkpoint) == (None, None)
    assert "no job" in said(message)


def test_the_checkpoint_of_a_run_is_told_by_its_place_where_two_have_one_name(
    host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / folder / "m.safetensors" for folder in ("a", "b")]
    for place in places:
        place.parent.mkdir()
        place.touch()
    offered = [HostCheckpoint(f"{place.parent.name}/m.safetensors", place) for place in places]
    monkeypatch.setattr(host, "checkpoints", lambda: offered)
    run = a_snapshot("done", result=a_result(), checkpoint="m.safetensors", place=str(places[1]), verdict=a_verdict())
    manager: Any = Manager(run)
    assert form_actions.load_run(host, manager, "run-1")[2] == "b/m.safetensors"
    shown = [said(render(manager, Page(), place).blocks["result"] or "") for place in places]
    assert "a/m.safetensors is selected, but this LoRA was made for b/m.safetensors" in shown[0]
    assert "is selected" not in shown[1]
    for title, found in (("a/m.safetensors", None), ("b/m.safetensors", run)):
        asked = order(host, checkpoint=title, erase="church")
        assert form_actions.judged_run([run], asked, "") is found
    monkeypatch.chdir(tmp_path)
    assert run.began_with(Path("b", "m.safetensors")), "a host may name its checkpoints from where it was started"
    assert replace(run, place="x" * 5000, checkpoint="y.safetensors").began_with(Path("y.safetensors"))
    places[1].rename(tmp_path / "c.safetensors")  # now only the name is left, and only the other has it
    monkeypatch.setattr(host, "checkpoints", lambda: offered[:1])
    assert form_actions.load_run(host, manager, "run-1")[2] == "a/m.safetensors"
    monkeypatch.setattr(host, "checkpoints", lambda: [offered[0], HostCheckpoint("c/m.safetensors", offered[0].path)])
    message, _, checkpoint = form_actions.load_run(host, manager, "run-1")
    assert checkpoint is None
    assert "several are called m.safetensors; choose one" in said(message)


def test_a_preset_keeps_what_was_changed_but_no_concepts(host: FakeHost, tmp_path: Path) -> None:
    asked = order(host, erase="church", preserve="bell", rank=4)
    keep = form_actions.keep_preset
    assert "is saved" in said(keep(tmp_path, Page(action="preset-save"), "mine", asked.asked))
    assert json.loads((tmp_path / "mine.json").read_text())["settings"] == {"rank": 4}
    assert json.loads((tmp_path / "mine.json").read_text())["description"] == ""
    assert "is saved" in said(keep(tmp_path, Page(action="preset-save"), "told", asked.asked, " For bells. "))
    assert json.loads((tmp_path / "told.json").read_text())["description"] == "For bells."
    again = Html(keep(tmp_path, Page(action="preset-save"), "mine", asked.asked))
    assert ("preset-overwrite", "mine") in again.actions()
    changed = order(host, erase="church", rank=5).asked
    assert "is saved" in said(keep(tmp_path, Page(action="preset-overwrite"), "mine", changed))
    assert json.loads((tmp_path / "mine.json").read_text())["settings"] == {"rank": 5}
    assert "cannot name" in said(keep(tmp_path, Page(action="preset-save"), "../mine", changed))
    assert keep(tmp_path, Page(action=""), "mine", changed) == "", "a deletion that was not confirmed"
    assert "is deleted" in said(keep(tmp_path, Page(action="preset-delete"), "mine", changed))
    assert not (tmp_path / "mine.json").exists()


# --- measuring a LoRA


def test_a_measurement_is_followed_and_can_be_cancelled(host: FakeHost) -> None:
    manager: Any = Manager()
    page, blocks = pages(manager)
    assert "See what a LoRA erases" in said(blocks["measure"] or "")
    manager.measured = a_measurement("measuring")
    page, blocks = pages(manager, page)
    shown = Html(blocks["measure"] or "")
    assert shown.all(role="progressbar")[0]["aria-valuenow"] == "50"
    assert shown.actions() == [("measure-cancel", "")]
    # The page asks again soon, although no run is on.
    assert Html(blocks["status"] or "").all("div", data_ae_active="1")
    assert actions.act(manager, Page(action="measure-cancel")) == ""
    assert manager.told == ["cancel"]
    assert "is being measured" in said(actions.try_it(host, manager, _done(), "", 1, 1.0))
    assert host.calls == []


def _done() -> Snapshot:
    return a_snapshot("done", result=a_result())


def test_a_measured_file_is_shown_like_a_result_with_what_became_of_every_word() -> None:
    manager: Any = Manager()
    manager.measured = replace(a_measurement(), lora="theirs.safetensors", notes=("made from another base",))
    _, blocks = pages(manager)
    shown = Html(blocks["measure"] or "")
    assert "Not gone." in shown.text
    assert "Not gone yet" not in shown.text
    assert "church: recognised in 3 of 8 pictures (8 of 8 before)." in shown.text
    assert "made from another base" in shown.text
    assert re.search(r"Hurt 1 .*tower hurt .*Kept 3 ", shown.text)
    assert "basilica gone" in shown.text
    assert "church left" in shown.text
    assert shown.actions() == []


def test_measure_names_a_file_of_the_lora_folder(host: FakeHost) -> None:
    manager: Any = Manager()
    file = random_lora(host.lora_folder() / "mine.safetensors")
    given = {"erase": ["church"], "preserve": []}
    assert actions.measure_lora(host, manager, host.checkpoint.name, "mine", given, 0.5) == ""
    assert manager.told == [MeasureRequest(host.checkpoint, file, given, 0.5)]
    assert "choose a file" in said(actions.measure_lora(host, manager, None, "", given, 1.0))
    shown = actions.measure_lora(host, manager, None, "../<b>mine", given, 1.0)
    assert "there is no '../<b>mine'" in said(shown)
    assert "<b>" not in shown
    assert "there is no checkpoint" in said(actions.measure_lora(host, manager, "gone.ckpt", "mine", given, 1.0))
    manager.fails = JobConflict("erase-bell is using the device")
    assert "erase-bell is using" in said(actions.measure_lora(host, manager, None, "mine", given, 1.0))


# --- baking


def test_a_bake_is_followed_and_can_be_cancelled(host: FakeHost) -> None:
    manager: Any = Manager()
    page, blocks = pages(manager)
    assert "stays as it is" in said(blocks["bake"] or "")
    manager.baked = a_bake("baking")
    page, blocks = pages(manager, page)
    shown = Html(blocks["bake"] or "")
    assert shown.all(role="progressbar")[0]["aria-valuenow"] == "50"
    assert shown.actions() == [("bake-cancel", "")]
    assert Html(blocks["status"] or "").all("div", data_ae_active="1")
    assert actions.act(manager, Page(action="bake-cancel")) == ""
    assert manager.told == ["cancel the bake"]
    assert "is being baked" in said(actions.try_it(host, manager, _done(), "", 1, 1.0))
    manager.baked = replace(a_bake(), version=8)
    _, blocks = pages(manager, page)
    assert "church (weight 0.5)" in said(blocks["bake"] or "")
    assert "without the LoRA in the prompt" in said(blocks["bake"] or "")


def test_bake_names_files_of_the_lora_folder_with_their_weights_and_a_checkpoint_of_the_host(host: FakeHost) -> None:
    manager: Any = Manager()
    mine, other = (random_lora(host.lora_folder() / f"{name}.safetensors") for name in ("mine", "sub/other"))
    title = host.checkpoint.name
    assert actions.bake_loras(host, manager, title, ["mine", "other"], "0.5", " new ") == ""
    assert manager.told.pop() == BakeRequest(host.checkpoint, [(mine, 0.5), (other, 0.5)], "new")
    assert actions.bake_loras(host, manager, title, ["other", "mine"], "1, -0.8", "new") == ""
    assert manager.told.pop() == BakeRequest(host.checkpoint, [(other, 1.0), (mine, -0.8)], "new")
    assert "3 for 2 LoRAs" in said(actions.bake_loras(host, manager, None, ["mine", "other"], "1 2 3", "new"))
    assert "choose at least one LoRA" in said(actions.bake_loras(host, manager, None, [], "1", "new"))
    assert "there is no '../<b>mine'" in said(actions.bake_loras(host, manager, None, ["../<b>mine"], "1", "new"))
    assert "there is no checkpoint" in said(actions.bake_loras(host, manager, "gone", ["mine"], "1", "new"))
    manager.fails = JobConflict("erase-bell is using the device")
    assert "erase-bell is using" in said(actions.bake_loras(host, manager, None, ["mine"], "1", "new"))


# --- uploading


def test_an_upload_is_followed_beside_all_else_and_can_be_cancelled(host: FakeHost) -> None:
    manager: Any = Manager()
    page, _ = pages(manager)
    manager.uploading.shown = UploadSnapshot("uploading", "mine", "zoe/mine", False, "zoe", ("a",), "begins", 3, 0.5)
    page, blocks = pages(manager, page)
    shown = Html(blocks["publish"] or "")
    assert shown.all(role="progressbar")[0]["aria-valuenow"] == "50"
    assert shown.actions() == [("upload-cancel", "")]
    assert Html(blocks["status"] or "").all("div", data_ae_active="1")
    assert actions.act(manager, Page(action="upload-cancel")) == ""
    assert manager.uploading.told == ["cancel"]
    assert "has no LoRA to try yet" in said(actions.try_it(host, manager, None, "", 1, 1.0))


# --- combining


def test_a_combination_is_followed_and_can_be_cancelled(host: FakeHost) -> None:
    manager: Any = Manager()
    page, blocks = pages(manager)
    assert "Sums of erasures hurt more" in said(blocks["combine"] or "")
    manager.combined = a_combination("combining")
    page, blocks = pages(manager, page)
    shown = Html(blocks["combine"] or "")
    assert shown.all(role="progressbar")[0]["aria-valuenow"] == "50"
    assert shown.actions() == [("combine-cancel", "")]
    assert Html(blocks["status"] or "").all("div", data_ae_active="1")
    assert actions.act(manager, Page(action="combine-cancel")) == ""
    assert manager.told == ["cancel the combination"]
    assert "is being combined" in said(actions.try_it(host, manager, _done(), "", 1, 1.0))
    manager.combined = replace(a_combination(), version=8)
    _, blocks = pages(manager, page)
    assert Html(blocks["combine"] or "").all("div", data_ae_made="8")
    assert "church (weight 0.5)" in said(blocks["combine"] or "")
    assert "Nobody has measured the sum yet" in said(blocks["combine"] or "")


def test_combine_names_files_of_the_lora_folder_with_their_weights(host: FakeHost) -> None:
    manager: Any = Manager()
    one, two = (random_lora(host.lora_folder() / f"{name}.safetensors") for name in ("one", "sub/two"))
    assert actions.combine_loras(host, manager, ["one", "sub/two"], "1; 0.5", 8.0, " new ", ["bell"]) == ""
    assert manager.told.pop() == CombineRequest([(one, 1.0), (two, 0.5)], "new", 8, ["bell"])
    assert actions.combine_loras(host, manager, ["one"], "", None, "") == ""
    assert manager.told.pop() == CombineRequest([(one, 1.0)])
    assert actions.combine_loras(host, manager, ["one"], "", 0, "", draw=True, checkpoint=host.checkpoint.name) == ""
    assert manager.told.pop().checkpoint == host.checkpoint
    gone = actions.combine_loras(host, manager, ["one"], "", 0, "", draw=True, checkpoint="gone")
    assert "there is no checkpoint" in said(gone)
    for loras, weights, says in (
        ([], "1", "choose at least one LoRA"),
        (["../<b>one"], "1", "there is no '../<b>one'"),
        (["one", "two"], "1 2 3", "3 for 2 LoRAs"),
        (["one", "two"], "1, <b>", "are not numbers"),
    ):
        assert says in said(actions.combine_loras(host, manager, loras, weights, 0, "new"))
    manager.fails = JobConflict("erase-bell is using the device")
    assert "erase-bell is using" in said(actions.combine_loras(host, manager, ["one"], "1", 0, "new"))


def test_combine_and_refine_queues_a_job(host: FakeHost) -> None:
    manager: Any = Manager(_done())
    file = random_lora(host.lora_folder() / "mine.safetensors")
    told, holds = actions.refine_loras(host, manager, host.checkpoint.name, ["mine"], "0.5", 4, "new", ["bell"], 300.0)
    assert f"{_done().name} is in the queue" in said(told)
    assert holds["started"] == _done().id
    assert manager.told == [(CombineRequest([(file, 0.5)], "new", 4, ["bell"]), host.checkpoint, 300)]
    for base, loras, says in (("gone", ["mine"], "there is no checkpoint"), (None, [], "choose at least one LoRA")):
        told, holds = actions.refine_loras(host, manager, base, loras, "1", 0, "new")
        assert says in said(told)
        assert holds == {}


def test_a_box_of_lines_shows_all_that_it_holds_at_first() -> None:
    pytest.importorskip("gradio")
    from erasure.ui.controls import draw_control

    templates = "{}\na picture of a {}\na photo of a {}\na {}"
    assert draw_control(controls()["templates"], templates).lines == 4
    assert draw_control(controls()["templates"], "{}").lines == 2
