"""LoRAs that are always on, in a real web UI. See ``conftest.py`` for what must be running: with emoji-SD selected, and
without ``--adversarial-erase-always`` and frozen settings."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from erasure.model.drawing import difference
from tests.host.client import ERASE, LONG, SIZE, Client, new_name

PROMPT = "a photo of a church"
HIRES: dict[str, Any] = {
    "enable_hr": True,
    "hr_scale": 1.5,
    "hr_upscaler": "Latent",
    "denoising_strength": 0.6,
}


@dataclass
class Drawn:
    pictures: list[Image.Image]
    infotexts: list[str]

    def same(self, other: Drawn) -> bool:
        pairs = zip(self.pictures, other.pictures, strict=True)
        return all(difference(one, two) == 0 for one, two in pairs)


@pytest.fixture(scope="module")
def lora(url: str) -> str:
    """Return the name of a LoRA that was made there."""
    client, name = Client(url), new_name("always")
    client.wait(client.erase("church", name, look_every=0, judged_words=0), lambda job: job["state"] == "done")
    client.loras()
    return name


@pytest.fixture
def on(client: Client, lora: str) -> Iterator[str]:
    """Keep the LoRA on for one test, and the list as it was after it."""
    if not client.draws_emoji:
        pytest.skip("needs emoji-SD to draw with")
    before = client.get(f"{ERASE}/always-on")["rules"]
    set_rules(client, [lora])
    yield lora
    set_rules(client, [{key: rule[key] for key in ("lora", "weight", "checkpoint")} for rule in before])


def set_rules(client: Client, rules: list[Any]) -> Any:
    return client.put(f"{ERASE}/always-on", {"rules": rules})


def draw(client: Client, prompt: str, tab: str = "txt2img", **options: Any) -> Drawn:
    asked = {
        "prompt": prompt,
        "seed": 1,
        "steps": 6,
        "cfg_scale": 4,
        "sampler_name": "DDIM",
        "width": SIZE,
        "height": SIZE,
    }
    answer = client.post(f"/sdapi/v1/{tab}", {**asked, "save_images": False, **options})
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in answer["images"]]
    return Drawn(pictures, json.loads(answer["info"])["infotexts"])


def without(client: Client, lora: str, prompt: str, tab: str = "txt2img", **options: Any) -> Drawn:
    """Draw with the list empty, and fill it again."""
    set_rules(client, [])
    try:
        return draw(client, prompt, tab, **options)
    finally:
        set_rules(client, [lora])


def test_no_prompt_and_no_request_turns_it_off(client: Client, on: str) -> None:
    wanted = without(client, on, f"{PROMPT} <lora:{on}:1>")
    plain = without(client, on, PROMPT)
    assert not wanted.same(plain)
    drawn = draw(client, PROMPT)
    assert drawn.same(wanted)
    assert f'Always on: "<lora:{on}:1>"' in drawn.infotexts[0]
    assert "Lora hashes: " in drawn.infotexts[0]
    tags = (
        f"<lora:{on}:-1>",
        f"<lora:{on}:0>",
        f"<lora:{on}:1:0>",
        f"<lora:{on}:abc>",
        "<lora:no-such:1>",
        "<lora:a=b>",
    )
    for tag in tags:
        assert draw(client, f"{PROMPT} {tag}").same(wanted), tag
    for options in (
        {"disable_extra_networks": True},
        {"override_settings": {"adversarial_erase_always": ""}},
    ):
        assert draw(client, PROMPT, **options).same(wanted), options
    client.post("/sdapi/v1/options", {"adversarial_erase_always": ""})
    assert draw(client, PROMPT).same(wanted)
    assert without(client, on, PROMPT).same(plain)


def test_hires_fix_batches_and_img2img_have_it(client: Client, on: str) -> None:
    tag, off = f"<lora:{on}:1>", f"<lora:{on}:-1>"
    night = {**HIRES, "hr_prompt": f"{PROMPT} at night"}
    wanted = without(client, on, f"{PROMPT} {tag}", **{**night, "hr_prompt": f"{night['hr_prompt']} {tag}"})
    assert draw(client, f"{PROMPT} {off}", **{**night, "hr_prompt": f"{night['hr_prompt']} {off}"}).same(wanted)

    wanted = without(client, on, f"{PROMPT} {tag}", n_iter=2, batch_size=2)
    drawn = draw(client, PROMPT, n_iter=2, batch_size=2)
    assert drawn.same(wanted)
    assert all("Always on" in text for text in drawn.infotexts)

    data = io.BytesIO()
    without(client, on, PROMPT).pictures[0].save(data, "PNG")
    image = {"init_images": [base64.b64encode(data.getvalue()).decode()], "denoising_strength": 0.6}
    wanted = without(client, on, f"{PROMPT} {tag}", "img2img", **image)
    drawn = draw(client, f"{PROMPT} {off}", "img2img", **image)
    assert drawn.same(wanted)
    assert "Always on" in drawn.infotexts[0]


def test_a_rule_for_a_checkpoint_holds_for_that_one(client: Client, on: str) -> None:
    wanted = draw(client, PROMPT)
    titles = [one["title"] for one in client.get("/sdapi/v1/sd-models")]
    selected = client.get("/sdapi/v1/options")["sd_model_checkpoint"]
    assert selected in titles
    for title in (selected, client.checkpoint):
        set_rules(client, [{"lora": on, "checkpoint": title}])
        assert draw(client, PROMPT).same(wanted)


def test_a_list_of_what_is_not_there_is_refused(client: Client, on: str) -> None:
    import urllib.error

    with pytest.raises(urllib.error.HTTPError) as refused:
        set_rules(client, ["no-such-lora"])
    assert refused.value.code == 422
    assert [rule["lora"] for rule in client.get(f"{ERASE}/always-on")["rules"]] == [on]


def test_the_tab_keeps_a_lora_on_and_the_settings_page_agrees(client: Client, on: str, browser: Any) -> None:
    from playwright.sync_api import expect

    from tests.browser.tab import Tab

    set_rules(client, [])
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(LONG * 1000)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(client.url, wait_until="domcontentloaded")
    page.locator("#tabs > .tab-nav button", has_text="Adversarial Erase").click()
    tab = Tab(page)
    tab.block("status").locator(".ae").first.wait_for()
    page.locator("#ae_keep_part .label-wrap").first.click()
    tab.choose("keep_lora", on)
    tab.button("keep").click()
    listed = page.locator("#ae_keep_block").first
    expect(listed).to_contain_text(f"{on} at weight 1 for all checkpoints")
    assert [rule["lora"] for rule in client.get(f"{ERASE}/always-on")["rules"]] == [on]

    # The settings page was made before, and saves all that it holds.
    apply = page.locator("#settings_submit")
    page.locator("#tabs > .tab-nav button", has_text="Settings").click()
    apply.click()
    page.wait_for_timeout(2000)
    assert [rule["lora"] for rule in client.get(f"{ERASE}/always-on")["rules"]] == [on]

    page.locator("#tabs > .tab-nav button", has_text="Adversarial Erase").click()
    listed.locator('[data-ae-action="keep-off"]').click()
    expect(listed).to_contain_text("No LoRA is always on")
    assert client.get(f"{ERASE}/always-on")["rules"] == []
    page.close()
