"""From a concept to a changed picture, on emoji-SD, in a real browser; with the newest and with the oldest gradio."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[test]'")

from playwright.sync_api import expect

from emoji_sd import MODEL
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.loading import load_parts
from tests.browser.conftest import App
from tests.browser.tab import LONG, SHORT, SOON, Tab
from tests.loras import random_lora

pytestmark = pytest.mark.slow

# What takes long and has little to do with gradio is tried with one of its versions alone.
NEWEST_ALONE = pytest.mark.parametrize("app", ["newest"], indirect=True)
OLDEST_ALONE = pytest.mark.parametrize("app", ["oldest"], indirect=True)


@pytest.fixture
def tab(app: App, context: Any) -> Tab:
    return Tab(context.new_page()).visit(app.url)


def test_from_a_concept_to_a_changed_picture(app: App, tab: Tab) -> None:
    tab.order("church", preview_every="2")
    expect(tab.box("name")).to_have_value("erase-church", timeout=SOON)
    expect(tab.page.locator("#ae_estimate_block").first).to_contain_text("memory", timeout=SOON)
    tab.start()
    tab.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    tab.wait_state("Done")

    _result_is_shown_and_said(tab)
    expect(tab.page.locator("#ae_message_block").first).not_to_contain_text("started", timeout=SOON)
    assert (app.data / "loras" / "erase-church.safetensors").exists()
    assert (app.data / "loras" / "erase-church.json").exists()
    assert tab.block("chart").locator("svg").count() > 0
    assert tab.block("picks").locator(".ae-pick").count() > 0
    _steps_can_be_chosen(tab)
    expect(tab.box("name")).to_have_value("erase-church-2", timeout=SOON)  # the first is taken now

    tab.show("txt2img")
    tab.prompt().fill("church")
    without = tab.generate()
    tab.show("Adversarial Erase")
    tab.press("result", "insert")
    expect(tab.prompt()).to_have_value("church <lora:erase-church:1>")
    expect(tab.action("result", "insert")).to_have_text("Remove from txt2img")
    tab.show("txt2img")
    assert tab.generate() != without
    tab.show("Adversarial Erase")
    tab.press("result", "insert")
    expect(tab.prompt()).to_have_value("church")

    tab.button("try").click()
    pictures = tab.page.locator("#ae_try_block img")
    expect(pictures).to_have_count(2, timeout=LONG)
    assert pictures.nth(0).get_attribute("src") != pictures.nth(1).get_attribute("src")


def _result_is_shown_and_said(tab: Tab) -> None:
    """The result is directly below the state, in view and announced; the focus has not moved."""
    card = tab.block("result").locator(".ae-result")
    expect(card.locator(".ae-check")).to_contain_text(re.compile("Gone|Not gone yet|Not known"), timeout=SOON)
    expect(card).to_be_in_viewport(timeout=SOON)
    expect(tab.page.locator("#ae_live")).to_contain_text(re.compile("erase-church.*Done"), timeout=SOON)
    expect(tab.button("start")).to_be_focused()
    assert _top(card) < _top(tab.block("grid").locator("img").first)
    assert _top(card) < _top(tab.block("chart").locator("svg").first)


def _top(shown: Any) -> float:
    return float(shown.evaluate("e => e.getBoundingClientRect().top"))


def _steps_can_be_chosen(tab: Tab) -> None:
    picture = tab.block("grid").locator('img[alt*="after"]').first
    last = picture.get_attribute("src")
    tab.press("grid", "step", "2")
    expect(tab.action("grid", "step", "2")).to_have_attribute("aria-pressed", "true", timeout=SOON)
    assert picture.get_attribute("src") != last
    assert "after 2 updates" in (picture.get_attribute("alt") or "")


@OLDEST_ALONE
def test_a_run_outlives_its_page_and_is_paused_stopped_and_resumed(app: App, tab: Tab, context: Any) -> None:
    tab.order("truck", steps="400")
    tab.start()
    tab.wait_state("Running")

    tab.page.reload()  # in mid-run
    tab.wait_state("Running", SOON)
    tab.wait_update(2)
    tab.press("status", "pause")
    tab.wait_state("Paused")
    second = Tab(context.new_page()).visit(app.url)
    second.wait_state("Paused", SOON)

    second.press("status", "resume")
    tab.wait_state("Running")
    tab.press("status", "stop")  # asks, and saves
    tab.wait_state("Stopped")
    expect(tab.block("result")).to_contain_text(re.compile(r"erase-truck-step\d+"), timeout=SOON)
    second.wait_state("Stopped")

    tab.press("status", "resume")
    tab.wait_state("Running")
    tab.press("status", "discard")
    expect(tab.block("runs")).not_to_contain_text("erase-truck", timeout=SOON)
    assert list((app.data / "loras").glob("erase-truck.*")) == []


@NEWEST_ALONE
def test_queued_jobs_wait_for_their_turn_and_can_be_cancelled(app: App, tab: Tab) -> None:
    """The second starts by itself when the first ends; the third is taken out of the queue."""
    tab.order("bell", steps="400", look_every="0", judged_words="0")
    tab.start()
    tab.wait_state("Running")
    for concept in ("dog", "radio"):
        tab.fill("steps", "400")
        tab.fill("erase", concept)
        expect(tab.box("name")).to_have_value(f"erase-{concept}", timeout=SOON)
        tab.start()
        # The page turns to the run that was started last; what is chosen before that would be left again.
        expect(tab.block("status")).to_contain_text(f"erase-{concept}", timeout=SOON)
        expect(tab.block("runs")).to_contain_text(f"erase-{concept}", timeout=SOON)
    tab.press("runs", "select", _run_id(tab, "erase-dog"))
    tab.wait_state("Queued", SOON)
    expect(tab.block("status")).to_contain_text("waits for erase-bell", timeout=SOON)
    tab.press("runs", "select", _run_id(tab, "erase-radio"))
    expect(tab.block("status")).to_contain_text("waits for erase-dog", timeout=SOON)

    tab.press("status", "discard")
    expect(tab.block("runs")).not_to_contain_text("erase-radio", timeout=SOON)
    tab.press("runs", "discard", _run_id(tab, "erase-bell"))
    expect(tab.block("runs")).not_to_contain_text("erase-bell", timeout=LONG)
    tab.press("runs", "select", _run_id(tab, "erase-dog"))
    tab.wait_state("Running")
    tab.press("status", "discard")
    expect(tab.block("runs")).not_to_contain_text("erase-dog", timeout=LONG)
    assert not [path for path in (app.data / "loras").glob("*") if path.stem in ("erase-bell", "erase-radio")]


def _run_id(tab: Tab, name: str) -> str:
    runs = tab.block("runs").locator(".ae-run", has_text=name)
    return runs.locator('[data-ae-action="select"]').first.get_attribute("data-ae-value", timeout=SOON) or ""


def _look(tab: Tab) -> None:
    """Begin to look for nearby concepts. A job that was discarded gives the device back only after its update."""
    searching = re.compile("Finding nearby concepts")
    for _ in range(20):
        tab.button("look").click()
        with suppress(AssertionError):
            expect(tab.button("look")).to_have_text(searching, timeout=3000)
            return
    expect(tab.button("look")).to_have_text(searching)


def test_nearby_concepts_are_found_and_move_with_a_click(tab: Tab) -> None:
    tab.order("church", neighbours="6", synonym_threshold="0.5", synonym_states="1")
    tab.unfold("synonym")
    _look(tab)
    expect(tab.button("look")).to_be_disabled()
    # Not the chips themselves: those of an earlier run with this target are there from the beginning.
    expect(tab.button("look")).to_have_text("Find nearby concepts", timeout=LONG)
    expect(tab.button("look")).to_be_enabled()
    expect(tab.block("search")).to_have_text("")
    # They come with the check that follows the search, which may be some seconds later.
    expect(tab.block("chips")).not_to_contain_text("changed since", timeout=SOON)
    chip = tab.action("chips", "chip-erase")
    chip.wait_for(timeout=SOON)
    word = chip.get_attribute("data-ae-value") or ""
    tab.press("chips", "chip-erase", word)  # by its word: the chips may be drawn anew in another order meanwhile
    expect(tab.box("synonym")).to_have_value(word, timeout=SOON)
    expect(tab.action("chips", "chip-auto", word)).to_be_visible(timeout=SOON)
    tab.press("chips", "chip-auto", word)
    expect(tab.box("synonym")).to_have_value("", timeout=SOON)
    tab.fill("preserve", "bus, dog")
    expect(tab.block("chips")).to_contain_text("Always protected", timeout=SOON)
    tab.fill("neighbours", "5")
    expect(tab.block("chips")).to_contain_text("changed since", timeout=SOON)


def test_a_search_is_followed_by_every_page_and_cancelled_by_any(app: App, tab: Tab, context: Any) -> None:
    tab.fill("erase", "bus")
    tab.unfold("synonym")
    tab.button("look").click()
    expect(tab.block("search")).to_contain_text(re.compile(r"Near bus: .*\d of \d"), timeout=LONG)
    second = Tab(context.new_page()).visit(app.url)
    second.unfold("synonym")
    expect(second.button("look")).to_be_disabled(timeout=SOON)
    second.press("search", "search-cancel")
    for page in (second, tab):
        expect(page.block("search")).to_contain_text("cancelled", timeout=LONG)
        expect(page.button("look")).to_be_enabled(timeout=SOON)
        expect(page.button("look")).to_have_text("Find nearby concepts")


@pytest.mark.parametrize(("width", "beside"), [(1400, True), (800, True), (600, False)])
def test_runs_are_listed_beside_the_shown_run_where_there_is_room(
    app: App, context: Any, width: int, beside: bool
) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    Tab(page).visit(app.url)
    runs, run, form = (page.locator(f"#ae_{name}").first.bounding_box() for name in ("runs", "run", "form"))
    assert (runs["x"] + runs["width"] <= run["x"]) == beside
    assert runs["y"] >= form["y"] + form["height"]


def test_a_lora_is_measured_on_the_chosen_checkpoint(app: App, tab: Tab) -> None:
    unet = load_parts(inspect_checkpoint(MODEL), device="cpu", dtype=torch.float32).unet
    ours = {"erase": ["bell"], "neighbours": 4, "synonym_threshold": 0.0}
    for name, config in (("random", ours), ("foreign", None)):
        random_lora(app.data / "loras" / f"{name}.safetensors", config, strength=0.02, unet=unet)
    tab.visit(app.url)  # the list of files is read whenever the tab is opened
    tab.page.locator("#ae_measure_part .label-wrap").first.click()
    expect(tab.block("measure")).to_be_visible(timeout=SOON)
    tab.choose("measure_lora", "foreign")
    tab.button("measure").click()
    said = tab.page.locator("#ae_measure_message_block").first
    expect(said).to_contain_text("does not say what it erases", timeout=SOON)
    tab.choose("measure_lora", "random")
    tab.fill("measure_keep", "truck")
    tab.button("measure").click()
    expect(tab.block("measure").locator(".ae-check")).to_be_visible(timeout=LONG)
    expect(said).not_to_contain_text("does not say")
    found = tab.block("measure")
    expect(found).to_contain_text("random.safetensors")
    expect(found).to_contain_text(re.compile(r"bell: recognised in \d of \d pictures"))
    expect(found.locator(".ae-chip", has_text="truck")).to_have_text(re.compile("kept|hurt"))
    expect(tab.page.locator("#ae_live")).to_contain_text("Measured.", timeout=SOON)


def test_a_lora_is_baked_into_a_new_checkpoint_that_can_be_chosen(app: App, tab: Tab) -> None:
    unet = load_parts(inspect_checkpoint(MODEL), device="cpu", dtype=torch.float32).unet
    random_lora(app.data / "loras" / "bakeable.safetensors", strength=0.02, unet=unet)
    tab.visit(app.url)
    tab.page.locator("#ae_bake_part .label-wrap").first.click()
    expect(tab.block("bake")).to_be_visible(timeout=SOON)
    tab.fill("bake_name", "a/b")
    tab.choose("bake_loras", "bakeable")
    tab.page.keyboard.press("Escape")
    tab.button("bake").click()
    said = tab.page.locator("#ae_bake_message_block").first
    expect(said).to_contain_text("the checkpoint cannot be called 'a/b'", timeout=SOON)
    tab.fill("bake_name", "baked")
    tab.button("bake").click()
    expect(tab.block("bake")).to_contain_text("32 layers changed", timeout=LONG)
    expect(said).not_to_contain_text("cannot be called")
    expect(tab.page.locator("#ae_live")).to_contain_text("baked.safetensors", timeout=SOON)
    assert (app.data / "checkpoints" / "baked.safetensors").is_file()
    tab.choose("checkpoint", "checkpoints/baked.safetensors")


def test_loras_are_combined_into_one_that_can_be_chosen(app: App, tab: Tab) -> None:
    unet = load_parts(inspect_checkpoint(MODEL), device="cpu", dtype=torch.float32).unet
    for name, config in (("first", {"erase": ["bell"]}), ("second", None)):
        random_lora(app.data / "loras" / f"{name}.safetensors", config, strength=0.02, unet=unet)
    tab.visit(app.url)
    tab.page.locator("#ae_combine_part .label-wrap").first.click()
    expect(tab.block("combine")).to_be_visible(timeout=SOON)
    for name in ("first", "second"):
        tab.choose("combine_loras", name)
    tab.page.keyboard.press("Escape")
    tab.fill("combine_weights", "1, 0.5, 3")
    tab.button("combine").click()
    said = tab.page.locator("#ae_combine_message_block").first
    expect(said).to_contain_text("3 for 2 LoRAs", timeout=SOON)
    tab.fill("combine_weights", "1, 0.5")
    tab.fill("combine_rank", "1")
    tab.fill("combine_name", "one-of-two")
    tab.button("refine").click()
    expect(said).to_contain_text("second cannot be refined without saying what is erased", timeout=SOON)
    tab.page.locator("#ae_combine_pictures input").first.check()
    tab.button("combine").click()
    expect(tab.block("combine")).to_contain_text("ranks of up to 4 compressed to 1", timeout=LONG)
    expect(tab.block("combine")).to_contain_text("first.safetensors (weight 1), second.safetensors (weight 0.5)")
    expect(tab.page.locator("#ae_live")).to_contain_text("one-of-two.safetensors", timeout=SOON)
    tab.block("combine").locator("summary").first.click()
    expect(tab.block("combine").locator("img")).to_be_visible(timeout=SOON)
    assert {path.suffix for path in (app.data / "loras").glob("one-of-two.*")} == {".safetensors", ".json", ".png"}
    tab.page.locator("#ae_bake_part .label-wrap").first.click()
    tab.choose("bake_loras", "one-of-two")
    # A page that is opened later has nothing to announce.
    tab.visit(app.url)
    tab.page.locator("#ae_combine_part .label-wrap").first.click()
    expect(tab.page.locator("[data-ae-block=combine][data-ae-state=done]")).to_have_count(1, timeout=SOON)
    tab.page.wait_for_timeout(300)
    expect(tab.page.locator("#ae_live")).to_have_text("")


def test_a_list_of_prompts_is_uploaded_kept_and_chosen(app: App, tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "broken.txt").write_bytes(bytes(range(256)))
    (tmp_path / "my bells.txt").write_text("bell\ntower\nbus\n", encoding="utf-8")
    tab.unfold("vocabulary")
    said = tab.page.locator("#ae_upload_message_block").first
    picker = tab.page.locator("#ae_upload input[type=file]").first
    picker.set_input_files(tmp_path / "broken.txt")
    expect(said).to_contain_text("broken.txt is not UTF-8 text", timeout=SOON)
    expect(tab.box("vocabulary")).to_have_value("words")
    tab.page.locator("#ae_upload button[aria-label=Clear], #ae_upload button[aria-label^=Remove]").first.click()
    picker.set_input_files(tmp_path / "my bells.txt")
    expect(said).to_contain_text("my bells.txt is uploaded, with 3 prompts", timeout=SOON)
    expect(tab.box("vocabulary")).to_have_value("file", timeout=SOON)
    expect(tab.box("vocabulary_file")).to_have_value("my bells.txt")
    assert (app.data / "vocabularies" / "my bells.txt").exists()


def test_what_is_wrong_stands_beside_the_button_until_it_is_corrected(tab: Tab) -> None:
    tab.order("bell", learning_rate="fast", rank="-1")
    problems = tab.page.locator("#ae_estimate_block").first
    expect(problems).to_contain_text("learning_rate", timeout=SOON)
    expect(problems).to_contain_text("rank", timeout=SOON)
    expect(tab.button("start")).to_be_disabled(timeout=SOON)
    tab.fill("learning_rate", "0.001")
    tab.fill("rank", "4")
    expect(tab.button("start")).to_be_enabled(timeout=SOON)
    tab.fill("name", "../bell")
    expect(problems).to_contain_text("../bell", timeout=SOON)


def test_a_name_of_the_users_own_is_kept_whenever_a_suggestion_arrives(tab: Tab) -> None:
    late = """name => {
        const made = Object.assign(document.createElement('div'), { className: 'late' });
        const number = 100000 + document.querySelectorAll('.late').length;
        Object.assign(made.dataset, { aeAnswer: number, aeSuggested: name });
        document.querySelector('#ae_estimate_block').append(made);
    }"""
    tab.fill("erase", "bell")
    expect(tab.box("name")).to_have_value("erase-bell", timeout=SOON)
    tab.fill("name", "quiet")
    tab.page.evaluate(late, "erase-bell-2")
    tab.fill("erase", "dog")
    tab.page.wait_for_timeout(2000)
    expect(tab.box("name")).to_have_value("quiet")
    tab.box("name").fill("")  # and the box still has the focus
    tab.page.evaluate(late, "erase-bell-3")
    tab.page.wait_for_timeout(500)
    expect(tab.box("name")).to_have_value("")
    tab.box("name").blur()
    expect(tab.box("name")).to_have_value("erase-dog", timeout=SOON)


def test_a_concept_with_markup_in_it_stays_text(tab: Tab) -> None:
    tab.order('<img src=x onerror="document.title=1">', rank="-1")
    expect(tab.page.locator("#ae_estimate_block").first).to_contain_text("rank", timeout=SOON)
    assert tab.page.title() != "1"
    expect(tab.box("name")).to_have_value(re.compile("^erase-[a-z0-9-]+$"), timeout=SOON)


def test_kind_and_quality_fill_the_form_and_quick_is_there_where_it_was_measured(tab: Tab) -> None:
    tab.order("bell")
    quick = tab.page.locator("#ae_quality input[value=Quick]")
    expect(tab.box("templates")).to_have_value(re.compile("a picture of a {}"))
    quick.check()
    expect(tab.box("adversary")).to_have_value("uniform", timeout=SOON)
    tab.choose("kind", "Art style")
    expect(tab.box("steps_per_concept")).to_have_value("80", timeout=SOON)
    tab.choose("kind", "Person")
    expect(quick).to_have_count(0, timeout=SOON)
    expect(tab.page.locator("#ae_quality input[value=Normal]")).to_be_checked()
    expect(tab.box("anchor")).to_have_value("person")
    tab.page.locator("#ae_quality input[value=Thorough]").check()
    expect(tab.box("steps_per_concept")).to_have_value("300", timeout=SOON)
    expect(tab.box("erase")).to_have_value("bell")


def test_a_preset_is_saved_chosen_and_deleted(tab: Tab) -> None:
    tab.order("bell", rank="3", learning_rate="0.002")
    tab.fill("preset_name", "My bells")
    tab.fill("preset_about", "For bells of bronze")
    tab.button("preset_save").click()
    said = tab.page.locator("#ae_preset_message_block").first
    expect(said).to_contain_text("is saved", timeout=SOON)
    tab.choose("kind", "Person")
    expect(tab.box("rank")).to_have_value("0", timeout=SOON)
    tab.choose("kind", "My bells")
    expect(tab.page.locator("#ae_kind_message_block").first).to_contain_text("For bells of bronze", timeout=SOON)
    expect(tab.box("rank")).to_have_value("3", timeout=SOON)
    expect(tab.box("learning_rate")).to_have_value("0.002")
    expect(tab.box("erase")).to_have_value("bell")
    tab.button("preset_delete").click()
    expect(said).to_contain_text("is deleted", timeout=SOON)


def test_a_past_run_is_looked_at_used_again_and_deleted(app: App, tab: Tab) -> None:
    if not tab.block("runs").locator('[data-ae-action="select"]').count():
        pytest.skip("no run was made by the tests before")
    tab.press("runs", "select")
    expect(tab.block("status")).to_contain_text("erase-", timeout=SOON)
    tab.press("runs", "settings")
    expect(tab.box("erase")).to_have_value("church", timeout=SOON)
    tab.unfold("steps")
    expect(tab.box("steps")).to_have_value(SHORT["steps"])
    expect(tab.box("learning_rate")).to_have_value("0.01")
    tab.press("runs", "delete")
    expect(tab.block("runs")).to_contain_text("No runs yet", timeout=SOON)
    assert list((app.data / "loras").glob("erase-church.safetensors")), "the LoRA of a deleted run stays"


@pytest.mark.parametrize("width", [360, 800])
def test_narrow_windows_need_no_sideways_scrolling(app: App, context: Any, width: int) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    tab = Tab(page).visit(app.url)
    tab.unfold("steps")
    tab.unfold("synonym")
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_text_can_be_read_in_both_themes(app: App, context: Any) -> None:
    for theme, darker in (("light", _dark_on_light), ("dark", _light_on_dark)):
        page = context.new_page()
        Tab(page).visit(f"{app.url}?__theme={theme}")
        for selector in ("#ae_status_block .ae p", "#ae_runs_block .ae p"):
            colour = page.locator(selector).first.evaluate("e => getComputedStyle(e).color")
            assert darker(colour), f"{selector} is {colour} in the {theme} theme"


def _luminance(colour: str) -> float:
    red, green, blue = [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


_dark_on_light: Callable[[str], bool] = lambda colour: _luminance(colour) < 0.45  # noqa: E731
_light_on_dark: Callable[[str], bool] = lambda colour: _luminance(colour) > 0.55  # noqa: E731


def test_the_keyboard_reaches_everything_on_the_way_to_a_run(tab: Tab) -> None:
    tab.box("erase").focus()
    tab.page.keyboard.type("bell")
    expect(tab.button("start")).to_be_enabled(timeout=SOON)
    reached: list[str] = []
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        reached.append(tab.page.evaluate("document.activeElement.closest('[id^=ae_]')?.id ?? ''"))
        if reached[-1] == "ae_start":
            break
    for name in ("ae_anchor", "ae_kind", "ae_quality", "ae_checkpoint", "ae_name", "ae_start"):
        assert name in reached
    hidden = tab.page.evaluate("[...document.querySelectorAll('#ae_calls button')].some((b) => b.offsetParent)")
    assert not hidden


def test_a_lora_is_checked_and_shared_and_downloaded(app: App, tab: Tab, tmp_path: Path) -> None:
    random_lora(app.data / "loras" / "passed-on.safetensors", {"erase": ["bell"]})
    tab.visit(app.url)
    tab.page.locator("#ae_measure_part .label-wrap").first.click()
    tab.choose("measure_lora", "passed-on")
    tab.button("received").click()
    expect(tab.page.locator("#ae_received_block").first).to_contain_text("does not state the hash", timeout=LONG)
    tab.page.locator("#ae_share_part .label-wrap").first.click()
    tab.choose("share_lora", "passed-on")
    tab.button("share").click()
    said = tab.page.locator("#ae_share_block").first
    expect(said).to_contain_text("license: is needed", timeout=SOON)
    tab.choose("share_license", "creativeml-openrail-m")
    tab.button("share").click()
    expect(said).to_contain_text("passed-on is ready to be passed on", timeout=LONG)
    expect(tab.page.locator("#ae_offer_block").first).to_contain_text("--adversarial-erase-upload")
    with tab.page.expect_download() as download:
        said.locator("a").click()
    assert download.value.suggested_filename == "passed-on.zip"
    download.value.save_as(tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == (app.data / "shared" / "passed-on.zip").read_bytes()
