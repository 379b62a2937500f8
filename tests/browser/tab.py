"""The tab as a user sees it in a browser: found by labels, ids and words that do not depend on gradio's version."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, TimeoutError, expect

SOON = 60_000  # milliseconds: two cores may be busy with a training
LONG = 420_000
# A training of seconds: few updates with few rows, few neighbours, no test of synonyms, a rate that shows at once, and
# a vocabulary (a file that the app of the tests has) of few words.
SHORT = {
    "steps": "4",
    "neighbours": "2",
    "synonym_threshold": "0",
    "warmup": "0",
    "learning_rate": "0.01",
    "sampling_steps": "4",
    "rehearsed": "0",
}


class Tab:
    """The tab on one page of a browser."""

    def __init__(self, page: Page):
        self.page = page

    def visit(self, url: str) -> Tab:
        self.page.goto(url, wait_until="domcontentloaded")
        self.block("status").locator(".ae").first.wait_for(timeout=SOON)
        # The first check of the form has been answered.
        self.page.locator("#ae_estimate_block .ae").first.wait_for(timeout=SOON)
        return self

    # --- the form

    def box(self, name: str) -> Locator:
        """Return the input of a setting or of another control."""
        return self.page.locator(f"#ae_{name} textarea, #ae_{name} input").first

    def fill(self, name: str, value: str) -> None:
        box = self.box(name)
        box.fill(value)
        box.blur()

    def choose(self, name: str, option: str) -> None:
        """Choose an option of a dropdown.

        Older gradio does not add to a list that is open, so it is opened again until the option is there.
        """
        newer = self.page.get_by_role("option", name=option, exact=True)
        wanted = newer.or_(self.page.locator(f'li[aria-label="{option}"]')).first
        for left in reversed(range(10)):
            self.box(name).click()
            try:
                wanted.click(timeout=SOON / 10)
                return
            except TimeoutError:
                if not left:
                    raise
                self.box(name).blur()

    def button(self, name: str) -> Locator:
        return self.page.locator(f"button#ae_{name}, #ae_{name} button").first

    def unfold(self, name: str) -> None:
        """Open an accordion, by what is in it."""
        if not self.box(name).is_visible():
            holder = "protect" if name in ("vocabulary", "synonym", "preserve") else "advanced"
            self.page.locator(f"#ae_{holder} .label-wrap").first.click()
            expect(self.box(name)).to_be_visible(timeout=SOON)

    def order(self, concept: str, **settings: str) -> None:
        """Fill the form for a training of seconds."""
        self.unfold("steps")
        self.unfold("vocabulary")
        self.choose("vocabulary", "file")
        for name, value in {**SHORT, "vocabulary_file": "few.txt", **settings}.items():
            self.fill(name, value)
        self.fill("erase", concept)

    def start(self) -> None:
        # The check of what was filled in last comes a moment after it.
        self.page.wait_for_timeout(600)
        expect(self.button("start")).to_be_enabled(timeout=SOON)
        self.button("start").click()
        expect(self.page.locator("#ae_message_block").first).to_contain_text(re.compile("started|turn"), timeout=SOON)

    # --- the run

    def block(self, name: str) -> Locator:
        return self.page.locator(f'[data-ae-block="{name}"]').first

    def wait_state(self, state: str, timeout: int = LONG) -> None:
        expect(self.block("status").locator(".ae-pill")).to_have_text(re.compile(rf"^\s*{state}\s*$"), timeout=timeout)

    def wait_update(self, step: int) -> None:
        """Wait until so many updates are done."""
        self.page.wait_for_function(
            "step => Number(document.querySelector('#ae_status_block [role=progressbar]')?.ariaValueNow ?? 0) >= step",
            arg=step,
            timeout=LONG,
        )

    def action(self, block: str, action: str, value: str | None = None) -> Locator:
        which = f'[data-ae-action="{action}"]' + (f'[data-ae-value="{value}"]' if value is not None else "")
        return self.block(block).locator(which).first

    def press(self, block: str, action: str, value: str | None = None) -> None:
        self.action(block, action, value).click(timeout=SOON)

    # --- txt2img of the stand-alone app

    def show(self, title: str) -> None:
        newer = self.page.get_by_role("tab", name=title)
        newer.or_(self.page.get_by_role("button", name=title, exact=True)).first.click()

    def prompt(self) -> Locator:
        return self.page.locator("#txt2img_prompt textarea, #txt2img_prompt input").first

    def generate(self) -> bytes:
        """Generate in few steps, and return the new picture."""
        self.page.locator("#txt2img_steps input[type=number]").first.fill("6")
        shown = self.page.locator("#txt2img_gallery img").first
        before = shown.get_attribute("src") if shown.count() else None
        self.page.locator("button#txt2img_generate, #txt2img_generate button").first.click()
        self.page.wait_for_function(
            "before => { const i = document.querySelector('#txt2img_gallery img');"
            " return i && i.src && i.getAttribute('src') !== before; }",
            arg=before,
            timeout=LONG,
        )
        answer: Any = self.page.request.get(str(shown.evaluate("picture => picture.src")))
        assert answer.ok
        return bytes(answer.body())
