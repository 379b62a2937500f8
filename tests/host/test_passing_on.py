"""Combining, baking and sharing in a real web UI: over its API, and in a browser. See ``conftest.py`` for what must be
running: with emoji-SD selected. A checkpoint ``host-test-baked-...`` of 43 MB is left behind each time."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from safetensors.torch import load

from erasure.model.drawing import difference
from erasure.share.private import names_found, names_of_this_machine
from tests.host.client import EMOJI, ERASE, LONG, ROUNDING, UNJUDGED, Client, new_name, tags

PROMPTS = ("a photo of a church", "a photo of a dog", "a photo of a fish")


@pytest.fixture(scope="module")
def parts(url: str) -> list[str]:
    """Return the names of two LoRAs that were made there."""
    client = Client(url, Client(url).get(f"{ERASE}/checkpoints")["current"])
    if not client.draws_emoji:
        pytest.skip("needs emoji-SD to draw with")
    names = [new_name(concept) for concept in ("church", "dog")]
    for name, concept in zip(names, ("church", "dog"), strict=True):
        client.wait(client.erase(concept, name, **UNJUDGED), lambda job: job["state"] == "done")
    client.loras()
    return names


@pytest.fixture
def there(client: Client) -> Iterator[Client]:
    """Yield the client, and select the checkpoint again after the test that was selected before."""
    before = client.get("/sdapi/v1/options")["sd_model_checkpoint"]
    yield client
    client.post("/sdapi/v1/options", {"sd_model_checkpoint": before})


def combine(client: Client, parts: list[str], what: str, **more: Any) -> Any:
    """Combine, and return what came of it."""
    done = client.errand("combine", {"loras": parts, "name": new_name(what), **more})
    assert done["state"] == "done", done["problem"]
    return done


def test_the_exact_sum_draws_what_all_tags_draw(there: Client, parts: list[str]) -> None:
    name = combine(there, parts, "exact")["name"].removesuffix(".safetensors")
    assert name in there.loras()
    for prompt in PROMPTS:
        both = there.txt2img(f"{prompt} {tags(*parts)}")
        assert difference(there.txt2img(prompt), both) > 2
        assert difference(both, there.txt2img(f"{prompt} {tags(name)}")) < ROUNDING


def test_a_compressed_sum_is_taken_too(there: Client, parts: list[str]) -> None:
    done = combine(there, parts, "rank", rank=2)
    assert done["rank"] == 2
    assert 0 < done["left_out"] < 1
    name = done["name"].removesuffix(".safetensors")
    assert difference(there.txt2img(PROMPTS[0]), there.txt2img(f"{PROMPTS[0]} {tags(name)}")) > 2


def test_refining_is_a_job_that_makes_a_lora(there: Client, parts: list[str]) -> None:
    name = new_name("refined")
    job = there.post(
        f"{ERASE}/jobs", {"loras": parts, "name": name, "checkpoint": EMOJI, "rows": 370, "config": UNJUDGED}
    )
    done = there.wait(job["id"], lambda job: job["state"] == "done")
    assert done["config"]["erase"] == ["church", "dog"]
    assert name in there.loras()
    assert difference(there.txt2img(PROMPTS[0]), there.txt2img(f"{PROMPTS[0]} {tags(name)}")) > 2


def test_a_shared_folder_names_nothing_of_the_machine(there: Client, parts: list[str]) -> None:
    file = next(lora["path"] for lora in there.get("/sdapi/v1/loras") if lora["name"] == parts[0])
    here = (PureWindowsPath if "\\" in file else PurePosixPath)(file)
    places = [str(folder) for folder in here.parents if len(folder.parts) > 1]
    made = there.post(f"{ERASE}/share", {"lora": parts[0], "license": "creativeml-openrail-m", "overwrite": True})
    with zipfile.ZipFile(io.BytesIO(there.download(f"{ERASE}/share/{made['name']}.zip"))) as archive:
        files = {PurePosixPath(name).name: archive.read(name) for name in archive.namelist()}
    assert {f"{parts[0]}.safetensors", "README.md", "civitai.json"} <= set(files)
    assert any(name.endswith(".png") for name in files)
    for name, data in files.items():
        text = data.decode("latin-1")
        assert not [place for place in places if place in text or json.dumps(place)[1:-1] in text], name
        if not name.endswith((".png", ".safetensors")):  # among so many bytes, a short name is found by chance
            assert not names_found(text, names_of_this_machine()), name
    assert load(files[f"{parts[0]}.safetensors"])


# --- in a browser


def test_from_the_tab_to_a_combined_lora_to_a_baked_checkpoint(there: Client, browser: Any, parts: list[str]) -> None:
    from playwright.sync_api import expect

    from tests.browser.tab import Tab

    milliseconds = LONG * 1000
    expect.set_options(timeout=milliseconds)
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(milliseconds)
    page.goto(there.url, wait_until="domcontentloaded")
    page.locator("#tabs > .tab-nav button", has_text="Adversarial Erase").click()
    tab = Tab(page)
    tab.block("status").locator(".ae").first.wait_for()
    expect(tab.block("result")).to_contain_text(EMOJI)
    expect(tab.block("result")).not_to_contain_text("is selected")
    combined, baked = new_name("sum"), new_name("baked")
    page.locator("#ae_combine_part .label-wrap").first.click()
    for name in parts:
        tab.choose("combine_loras", name)
    tab.fill("combine_name", combined)
    tab.button("combine").click()
    expect(tab.block("combine")).to_contain_text(f"{combined}.safetensors")
    expect(tab.block("combine")).to_contain_text("the exact sum")

    page.locator("#ae_bake_part .label-wrap").first.click()
    tab.choose("bake_loras", combined)
    tab.fill("bake_name", baked)
    tab.button("bake").click()
    expect(tab.block("bake")).to_contain_text("layers changed")
    expect(page.locator("#ae_live")).to_contain_text(baked)

    # Card and checkpoint are there without any refresh by hand.
    page.locator("#tabs > .tab-nav button", has_text="txt2img").click()
    page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Lora").click()
    expect(page.locator(f'#txt2img_lora_cards .card[data-name="{combined}"]')).to_have_count(1)
    page.locator("#tabs > .tab-nav button", has_text="Adversarial Erase").click()
    before = {prompt: (there.txt2img(prompt), there.txt2img(f"{prompt} {tags(combined)}")) for prompt in PROMPTS}
    _select(page, f"{baked}.safetensors")
    expect(tab.block("result")).to_contain_text(f"{baked}.safetensors is selected, but this LoRA was made for {EMOJI}")
    assert there.get(f"{ERASE}/checkpoints")["current"] == f"{baked}.safetensors"
    for prompt, (base, with_lora) in before.items():
        drawn = there.txt2img(prompt)
        assert difference(base, drawn) > 2
        assert difference(with_lora, drawn) < ROUNDING
    page.close()


def test_sharing_from_the_tab_gives_a_folder_to_download(there: Client, browser: Any, parts: list[str]) -> None:
    from playwright.sync_api import expect

    from tests.browser.tab import Tab

    expect.set_options(timeout=LONG * 1000)
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(LONG * 1000)
    page.goto(there.url, wait_until="domcontentloaded")
    page.locator("#tabs > .tab-nav button", has_text="Adversarial Erase").click()
    tab = Tab(page)
    tab.block("status").locator(".ae").first.wait_for()
    page.locator("#ae_share_part .label-wrap").first.click()
    tab.choose("share_lora", parts[1])
    tab.choose("share_license", "creativeml-openrail-m")
    tab.button("share").click()
    said = page.locator("#ae_share_block").first
    expect(said).to_contain_text(f"{parts[1]} is ready to be passed on")
    with page.expect_download() as download:
        said.locator("a").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert f"{parts[1]}.safetensors" in [PurePosixPath(name).name for name in archive.namelist()]
    page.close()


def _select(page: Any, checkpoint: str) -> None:
    """Choose a checkpoint at the top of the page."""
    box = page.locator("#setting_sd_model_checkpoint input").first
    box.click()
    page.locator("#setting_sd_model_checkpoint li", has_text=checkpoint).first.click()
