"""The extension in a real web UI: over its API, and in a browser. See ``conftest.py`` for what must be running."""

from __future__ import annotations

import threading
import time
import urllib.error
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image

from erasure.model.drawing import difference
from tests.host.client import EMOJI, ERASE, LONG, SHORT, SIZE, SMALL, Client, new_name

LONG_RUN: dict[str, Any] = {"steps": 2000}


@dataclass
class Drawing:
    """A txt2img request that is being answered."""

    client: Client
    prompt: str
    picture: Image.Image | None = None
    took: float = 0.0
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._draw, daemon=True)
        self.thread.start()

    def _draw(self) -> None:
        began = time.monotonic()
        self.picture = self.client.txt2img(self.prompt)
        self.took = time.monotonic() - began

    def done(self, timeout: float = LONG) -> Image.Image | None:
        self.thread.join(timeout)
        return self.picture


def running(job: Any, updates: int = 1) -> bool:
    return bool(job["state"] == "running" and job["step"] >= updates)


def test_the_checkpoint_in_use_is_offered(client: Client) -> None:
    answer = client.get(f"{ERASE}/checkpoints")
    assert answer["current"] in [one["title"] for one in answer["checkpoints"]]


def test_a_wrong_order_is_refused_with_all_problems(client: Client) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        client.post(f"{ERASE}/jobs", {"config": {"erase": [], "rank": -1}})
    assert refused.value.code == 422
    text = refused.value.read().decode()
    assert "erase" in text
    assert "rank" in text


def test_runs_cannot_be_downloaded_through_gradio(client: Client) -> None:
    for path in ("adversarial-erase/runs", "adversarial-erase/runs/x/job.json"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            client.get(f"/file={path}")
        assert refused.value.code in (403, 404)
    # What is not there would be 404, so this says that the folder is closed.
    with pytest.raises(urllib.error.HTTPError) as refused:
        client.get("/file=adversarial-erase/none-such")
    assert refused.value.code == 403


def test_an_erasure_gives_a_lora_that_changes_the_picture_and_leaves_plain_prompts_alone(client: Client) -> None:
    prompt, name = "a photo of a church", new_name("church")
    before = client.txt2img(prompt)
    settings = {} if client.draws_emoji else SMALL
    job = client.wait(client.erase("church", name, client.checkpoint, **settings), lambda job: job["state"] == "done")
    assert job["result"]["name"] == name
    assert name in client.loras()
    with_lora = client.txt2img(f"{prompt} <lora:{name}:1>")
    assert difference(before, with_lora) > 2
    assert difference(before, client.txt2img(f"{prompt} <lora:{name}:0>")) == 0
    assert difference(before, client.txt2img(prompt)) == 0


def test_a_picture_waits_for_the_training_and_passes_while_it_is_paused(client: Client) -> None:
    prompt = "a photo of a dog"
    before = client.txt2img(prompt)
    id = client.erase("bell", new_name("bell"), **LONG_RUN)
    client.wait(id, running)

    waiting = Drawing(client, prompt)
    step = client.job(id)["step"]
    client.wait(id, lambda job: job["step"] >= step + 3)
    assert waiting.picture is None

    client.act(id, "pause")
    paused = client.wait(id, lambda job: job["state"] == "paused")
    assert difference(before, waiting.done()) == 0  # type: ignore[arg-type]
    assert difference(before, client.txt2img(prompt)) == 0
    assert client.job(id)["step"] == paused["step"]

    client.act(id, "resume")
    client.wait(id, lambda job: running(job, paused["step"] + 1))
    client.act(id, "discard")
    assert difference(before, client.txt2img(prompt)) == 0


def test_the_web_uis_own_progress_and_interrupt_are_the_runs(client: Client) -> None:
    name = new_name("truck")
    id = client.erase("truck", name, **LONG_RUN)
    job = client.wait(id, lambda job: running(job, 5))
    shown = client.progress()
    assert shown["state"]["job"] == name
    assert shown["state"]["sampling_steps"] == job["steps"]
    assert shown["state"]["sampling_step"] >= job["step"]
    assert 0 < shown["progress"] < 0.9
    assert "update" in shown["textinfo"]

    client.post("/sdapi/v1/interrupt")
    stopped = client.wait(id, lambda job: job["state"] == "stopped")
    assert stopped["result"]["name"].startswith(f"{name}-step")
    assert stopped["result"]["name"] in client.loras()
    assert client.progress()["state"]["job"] == ""


# --- in a browser


def test_from_the_tab_to_the_card_to_another_picture(client: Client, browser: Any) -> None:
    from playwright.sync_api import expect

    from tests.browser.tab import Tab

    name, milliseconds = new_name("radio"), LONG * 1000
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(milliseconds)
    page.goto(client.url, wait_until="domcontentloaded")
    page.locator("#tabs > .tab-nav button", has_text="Adversarial Erase").click()
    tab = Tab(page)
    tab.block("status").locator(".ae").first.wait_for()
    tab.unfold("steps")
    for setting, value in SHORT.items():
        tab.fill(setting, str(value))
    if not client.draws_emoji:
        tab.choose("checkpoint", EMOJI)
    tab.fill("erase", "radio")
    tab.fill("name", name)
    page.wait_for_timeout(1500)
    expect(tab.button("start")).to_be_enabled(timeout=milliseconds)
    tab.button("start").click()
    tab.wait_state("Done", timeout=int(milliseconds))

    # The card is there without any refresh by hand.
    page.locator("#tabs > .tab-nav button", has_text="txt2img").click()
    _small_picture(page, "a photo of a radio")
    before = _generate(page) if client.draws_emoji else None
    page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Lora").click()
    card = page.locator(f'#txt2img_lora_cards .card[data-name="{name}"]')
    card.scroll_into_view_if_needed()
    assert card.locator("img.preview").count() == 1
    card.locator(".name").click()
    prompt = page.locator("#txt2img_prompt textarea").first
    expect(prompt).to_have_value(f"a photo of a radio <lora:{name}:1>")
    page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Generation").click()
    if before is not None:
        assert difference(before, _generate(page)) > 2

    # The tab's own button takes it out again.
    page.locator("#tabs > .tab-nav button", has_text="Adversarial Erase").click()
    tab.press("result", "insert")
    expect(prompt).to_have_value("a photo of a radio")
    page.close()


def test_reload_ui_leaves_a_run_alone(client: Client, browser: Any) -> None:
    id = client.erase("church", new_name("reload"), **LONG_RUN)
    client.wait(id, running)
    page = browser.new_page()
    page.set_default_timeout(LONG * 1000)
    page.goto(client.url, wait_until="domcontentloaded")
    page.locator("#tabs > .tab-nav button", has_text="Settings").click()
    page.locator("#settings_restart_gradio").click()
    # The page asks until the new server is there, and loads anew. (Too early a question can end the web UI.)
    page.get_by_text("Reloading").first.wait_for()
    page.locator("#tabs > .tab-nav button", has_text="Adversarial Erase").click()
    page.close()

    step = client.wait(id, lambda job: job["state"] != "preparing")["step"]
    job = client.wait(id, lambda job: job["state"] != "running" or job["step"] > step + 1)
    assert job["state"] == "running"
    client.post("/sdapi/v1/interrupt")
    client.wait(id, lambda job: job["state"] == "stopped")


def _small_picture(page: Any, prompt: str) -> None:
    page.locator("#txt2img_prompt textarea").first.fill(prompt)
    for control, value in (("width", SIZE), ("height", SIZE), ("steps", 8), ("seed", 1)):
        box = page.locator(f"#txt2img_{control} input[type=number]").first
        box.fill(str(value))
        box.blur()


def _generate(page: Any) -> Image.Image:
    """Generate, and return the page's next picture."""
    import io

    shown = page.locator("#txt2img_gallery img").first
    before = shown.get_attribute("src") if shown.count() else None
    page.locator("#txt2img_generate").click()
    page.wait_for_function(
        "before => { const i = document.querySelector('#txt2img_gallery img');"
        " return i && i.src && i.getAttribute('src') !== before; }",
        arg=before,
    )
    answer = page.request.get(str(shown.evaluate("picture => picture.src")))
    assert answer.ok
    return Image.open(io.BytesIO(answer.body())).convert("RGB")
