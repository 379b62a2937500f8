"""Stable Diffusion 2 and XL in a real web UI, on their miniatures: over its API, and in a browser.

Besides what ``conftest.py`` says, ``python -m emoji_sd install --webui DIR --checkpoint FILE`` for each of them; those
that are missing are left out. A checkpoint ``host-test-baked-...`` of 43 or 56 MB is left behind each time. Where the
web UI has no network, choose another live preview than "Approx NN": for SDXL it downloads a file before it draws.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pytest

from erasure.model.drawing import difference
from tests.host.client import ERASE, LONG, OTHERS, ROUNDING, SIZE, UNJUDGED, Client, new_name, tags

# A LoRA on every layer that can have one, for what web UIs call them differs from family to family.
ALL_LAYERS: dict[str, Any] = {"layers": "full", "rank": 4, "alpha": 4, "steps": 3, "adversary": "anchor", **UNJUDGED}
PROMPTS = ("a picture of a church in flat style", "a picture of a dog in flat style")


@dataclass
class Made:
    """A LoRA that was made there for ``client``'s checkpoint, of which web UIs should say ``version``."""

    client: Client
    name: str
    version: str


@pytest.fixture(scope="module", params=OTHERS)
def made(request: pytest.FixtureRequest, url: str) -> Iterator[Made]:
    """Select a miniature and erase from it; select again in the end what was selected before."""
    client, miniature = Client(url), str(request.param)
    client.post("/sdapi/v1/refresh-checkpoints")
    titles = [one["title"] for one in client.get("/sdapi/v1/sd-models")]
    title = next((title for title in titles if title.split(" [")[0] == miniature), None)
    options = client.get("/sdapi/v1/options")
    if title is None or "forge_additional_modules" in options:
        pytest.skip(f"needs {miniature} among the web UI's checkpoints")
    client.select(title)
    name = new_name(OTHERS[miniature].lower())
    try:
        current = client.get(f"{ERASE}/checkpoints")["current"]
        client.wait(client.erase("church", name, current, **ALL_LAYERS), lambda job: job["state"] == "done")
        yield Made(client, name, OTHERS[miniature])
    finally:
        client.give_up_jobs()
        client.post("/sdapi/v1/options", {"sd_model_checkpoint": options["sd_model_checkpoint"]})


def test_its_lora_changes_the_picture_and_leaves_plain_prompts_alone(made: Made) -> None:
    there, prompt = made.client, PROMPTS[0]
    assert made.name in there.loras()
    without = there.txt2img(prompt)
    assert difference(without, there.txt2img(f"{prompt} {tags(made.name)}")) > 2
    assert difference(without, there.txt2img(f"{prompt} <lora:{made.name}:0>")) == 0
    assert difference(without, there.txt2img(prompt)) == 0


def test_its_card_is_shown_with_its_version_and_draws_without_a_complaint(made: Made, browser: Any) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=LONG * 1000)
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(LONG * 1000)
    page.goto(made.client.url, wait_until="domcontentloaded")
    for control, value in (("width", SIZE), ("height", SIZE), ("steps", 2)):
        page.locator(f"#txt2img_{control} input[type=number]").first.fill(str(value))
        page.locator(f"#txt2img_{control} input[type=number]").first.blur()
    page.locator("#txt2img_prompt textarea").first.fill(f"{PROMPTS[0]} {tags(made.name)}")
    page.locator("#txt2img_generate").click()
    expect(page.locator("#html_info_txt2img").first).to_contain_text(f"{made.name}: ")
    # Of a file that the web UI cannot use, it says so in the page alone.
    expect(page.locator("#html_log_txt2img").first).to_contain_text("Time taken")
    expect(page.locator("#html_log_txt2img").first).not_to_contain_text("Networks with errors")

    # Cards are left out that are of another family than the selected checkpoint.
    page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Lora").click()
    page.locator("#txt2img_lora_extra_refresh:visible").click()
    card = page.locator(f'#txt2img_lora_cards .card[data-name="{made.name}"]')
    card.hover()
    card.locator(".edit-button").click()
    shown = page.locator("#txt2img_lora_edit_user_metadata").get_by_label("Stable Diffusion version")
    expect(shown).to_have_value(made.version)
    page.close()


def test_a_baked_checkpoint_draws_what_the_base_draws_with_the_lora(made: Made) -> None:
    # Which also says that the web UI has taken every layer of the file, about which it says nothing.
    there, name = made.client, new_name("baked")
    drawn = [there.txt2img(f"{prompt} {tags(made.name)}") for prompt in PROMPTS]
    base = there.get(f"{ERASE}/checkpoints")["current"]
    baked = there.errand("bake", {"loras": [made.name], "name": name, "checkpoint": base})
    assert baked["state"] == "done", baked["problem"]
    before = there.checkpoint
    there.post("/sdapi/v1/refresh-checkpoints")
    there.select(f"{name}.safetensors")
    there.checkpoint = before  # of the same size
    try:
        for prompt, picture in zip(PROMPTS, drawn, strict=True):
            assert difference(picture, there.txt2img(prompt)) < ROUNDING
    finally:
        there.select(before)


# --- what is passed on


def test_a_sum_with_another_erasure_draws_what_both_tags_draw(made: Made) -> None:
    there, other, name = made.client, new_name("other"), new_name("sum")
    base = there.get(f"{ERASE}/checkpoints")["current"]
    there.wait(there.erase("dog", other, base, **ALL_LAYERS), lambda job: job["state"] == "done")
    done = there.errand("combine", {"loras": [made.name, other], "name": name})
    assert done["state"] == "done", done["problem"]
    assert {other, name} <= set(there.loras())
    for prompt in PROMPTS:
        both = there.txt2img(f"{prompt} {tags(made.name, other)}")
        assert difference(there.txt2img(prompt), both) > 2
        assert difference(both, there.txt2img(f"{prompt} {tags(name)}")) < ROUNDING


def test_what_is_shared_names_its_family(made: Made) -> None:
    shared = made.client.post(f"{ERASE}/share", {"lora": made.name, "license": "creativeml-openrail-m"})
    with zipfile.ZipFile(io.BytesIO(made.client.download(f"{ERASE}/share/{shared['name']}.zip"))) as archive:
        files = {PurePosixPath(name).name: archive.read(name) for name in archive.namelist()}
    assert {f"{made.name}.safetensors", "README.md", "civitai.json"} <= set(files)
    assert json.loads(files["civitai.json"])["baseModel"].startswith({"SD2": "SD 2", "SDXL": "SDXL"}[made.version])


def test_it_can_be_kept_on(made: Made) -> None:
    there, prompt = made.client, PROMPTS[0]
    plain, wanted = there.txt2img(prompt), there.txt2img(f"{prompt} {tags(made.name)}")
    before = there.get(f"{ERASE}/always-on")["rules"]
    there.put(f"{ERASE}/always-on", {"rules": [made.name]})
    try:
        for tag in ("", f" <lora:{made.name}:0>", f" <lora:{made.name}:-1>"):
            assert difference(wanted, there.txt2img(prompt + tag)) == 0, tag
    finally:
        rules = [{key: rule[key] for key in ("lora", "weight", "checkpoint")} for rule in before]
        there.put(f"{ERASE}/always-on", {"rules": rules})
    assert difference(plain, there.txt2img(prompt)) == 0


def test_it_is_measured_on_its_checkpoint(made: Made) -> None:
    base = made.client.get(f"{ERASE}/checkpoints")["current"]
    done = made.client.errand("measure", {"lora": made.name, "checkpoint": base, "preserve": ["castle"]})
    assert done["state"] == "done", done["problem"]
    roles = {finding["concept"]: finding["role"] for finding in done["verdict"]["findings"]}
    assert (roles["church"], roles["castle"]) == ("target", "near")
    assert "unrelated" in roles.values()
    checked = made.client.post(f"{ERASE}/inspect", {"lora": made.name, "checkpoint": base})
    assert (checked["same_base"], checked["problems"]) == (True, []), checked
