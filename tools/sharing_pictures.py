"""Takes the README's pictures of combining, sharing and uploading: ``python -m tools.sharing_pictures --help``.

Two LoRA files made from emoji-SD are combined, and the first is shared and uploaded, in the stand-alone app. The Hub is
a stand-in on this machine, and what is made goes with the folder that it was made in.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tools.screenshots import FLAGS, IMAGES, start_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

    from tests.browser.tab import Tab

LICENSE = "creativeml-openrail-m"
OWNER = "zoe"  # whose login the stand-in for the Hub knows
GAP = 24  # pixels between pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loras", nargs=2, type=Path, metavar="LORA", help="a LoRA file made from emoji-SD")
    parser.add_argument("--out", type=Path, default=IMAGES, help="where passing-on.png and upload.png go (docs/images)")
    parser.add_argument("--width", type=int, default=1400, metavar="PX", help="width of the page (1400)")
    parser.add_argument("--browser", default="/usr/bin/chromium", metavar="FILE", help="(/usr/bin/chromium)")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    arguments.out.mkdir(parents=True, exist_ok=True)
    first, second = (path.stem for path in arguments.loras)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data = Path(folder)
        (data / "loras").mkdir()
        for path in arguments.loras:
            shutil.copy(path, data / "loras")
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=FLAGS)
        with opened(browser, arguments.width, data) as tab:
            _save([combine(tab, first, second), share(tab, first)], arguments.out / "passing-on.png")
        with stand_in() as variables, opened(browser, arguments.width, data, "--upload", **variables) as tab:
            _save(upload(tab, first), arguments.out / "upload.png", below=True)
        browser.close()


@contextmanager
def opened(browser: Browser, width: int, data: Path, *options: str, **variables: str) -> Iterator[Tab]:
    """Yield the tab of an app that runs until the block ends."""
    from tests.browser.tab import Tab

    app, url = start_app(data, *options, **variables)
    try:
        page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce")
        yield Tab(page).visit(f"{url.rstrip('/')}/?__theme=light")
        page.close()
    finally:
        app.terminate()
        app.wait()


@contextmanager
def stand_in() -> Iterator[dict[str, str]]:
    """Yield the variables of an environment in which a stand-in is the Hugging Face Hub, with a login."""
    from tests.fake_hub import TOKEN, fake_hub

    with fake_hub() as hub:
        yield {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}


def combine(tab: Tab, *loras: str) -> Image.Image:
    """Make the exact sum, with its pictures, and return a picture of the fold."""
    fold = _unfold(tab, "combine")
    for lora in loras:
        tab.choose("combine_loras", lora)
    tab.page.keyboard.press("Escape")
    tab.fill("combine_name", "-and-".join(loras))
    fold.locator("#ae_combine_pictures input").first.check()
    tab.button("combine").click()
    return _picture(tab, fold, "Made of")


def share(tab: Tab, lora: str) -> Image.Image:
    """Make the folder to pass on, and return a picture of the fold."""
    fold = _unfold(tab, "share")
    tab.choose("share_lora", lora)
    tab.choose("share_license", LICENSE)
    tab.button("share").click()
    return _picture(tab, fold, "is ready to be passed on")


def upload(tab: Tab, lora: str) -> list[Image.Image]:
    """Upload a folder that was made; return a picture of what is filled in and asked, and one of what came of it."""
    fold = _unfold(tab, "share")
    tab.choose("share_lora", lora)
    tab.fill("share_repo", f"{OWNER}/{lora}-erased")
    tab.button("share_offer").click()
    picture = _picture(tab, fold, f"Publish {lora}?")
    repository = fold.locator(".ae-pair-row").filter(has=tab.box("share_repo")).first
    asked = _rows(picture, fold, repository, fold.locator("#ae_offer_block").first)
    fold.locator("[data-ae-action=publish]").first.click()
    picture = _picture(tab, fold, f"{lora} is uploaded")
    done = fold.locator("#ae_publish_block").first
    return [asked, _rows(picture, fold, done, done)]


def _unfold(tab: Tab, name: str) -> Locator:
    fold = tab.page.locator(f"#ae_{name}_part").first
    fold.locator(".label-wrap").first.click()
    return fold


def _picture(tab: Tab, fold: Locator, said: str) -> Image.Image:
    """Wait until a fold says something, and return a picture of the fold."""
    from tests.browser.tab import LONG

    fold.get_by_text(said).first.wait_for(timeout=LONG)
    tab.page.mouse.move(0, 0)
    tab.page.wait_for_timeout(2000)  # gradio's own marks of progress fade
    return Image.open(io.BytesIO(fold.screenshot(animations="disabled"))).convert("RGB")


def _rows(picture: Image.Image, fold: Locator, first: Locator, last: Locator) -> Image.Image:
    """Return what a picture of a fold shows from one element to another, without the fold's border."""
    whole, top, bottom = (element.bounding_box() for element in (fold, first, last))
    if whole is None or top is None or bottom is None:
        raise SystemExit("a part of the fold cannot be seen on the page")
    border, margin = 2, 8
    upper, lower = top["y"] - whole["y"] - margin, bottom["y"] + bottom["height"] - whole["y"] + margin
    return picture.crop((border, round(upper), picture.width - border, round(lower)))


def _save(pictures: list[Image.Image], path: Path, *, below: bool = False) -> None:
    """Write pictures side by side on white, or one below the other."""
    sizes = [picture.height if below else picture.width for picture in pictures]
    length = sum(sizes) + GAP * (len(pictures) - 1)
    across = max(picture.width if below else picture.height for picture in pictures)
    sheet = Image.new("RGB", (across, length) if below else (length, across), "white")
    place = 0
    for picture, size in zip(pictures, sizes, strict=True):
        sheet.paste(picture, (0, place) if below else (place, 0))
        place += size + GAP
    sheet.save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
