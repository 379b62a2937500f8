"""Takes the README's pictures of the tab, light and dark, from a running page: ``python -m tools.screenshots --help``.

They show the run that the page shows by default: the one in progress, or the newest. Without ``--url``, the stand-alone
app is started with the runs in ``--data``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Page

IMAGES = Path(__file__).parents[1] / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip
SOON = 120_000  # milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="address of a running web UI with the extension, or of a running app")
    parser.add_argument("--data", type=Path, help="without --url: folder of the app's runs")
    parser.add_argument(
        "--out", type=Path, default=IMAGES, help="where tab-light.png and tab-dark.png go (docs/images)"
    )
    parser.add_argument("--concept", default="", help="the concept to type into the form")
    parser.add_argument("--look", action="store_true", help="also find nearby concepts, which takes seconds to minutes")
    parser.add_argument("--width", type=int, default=1400, metavar="PX", help="width of the page (1400)")
    parser.add_argument("--browser", default="/usr/bin/chromium", metavar="FILE", help="(/usr/bin/chromium)")
    arguments = parser.parse_args()
    if arguments.url:
        photograph(arguments.url, arguments)
        return
    if arguments.data is None:
        parser.error("--url or --data is needed")
    app, url = start_app(arguments.data)
    try:
        photograph(url, arguments)
    finally:
        app.terminate()
        app.wait()


def start_app(data: Path, *options: str, **variables: str) -> tuple[subprocess.Popen[str], str]:
    """Start the app in a process of its own, with more options and variables of its environment; return the process
    and the app's address."""
    command = [sys.executable, "-u", "-m", "erasure", "app", "--data", str(data), *options]
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", **variables}
    app = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert app.stdout is not None
    for line in app.stdout:
        found = re.search(r"http://\S+", line)
        if found and line.startswith("Adversarial Erase"):
            return app, found[0]
    raise SystemExit("the app did not start")


def photograph(url: str, arguments: argparse.Namespace) -> None:
    """Take both pictures of the page at ``url``."""
    from playwright.sync_api import sync_playwright

    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=FLAGS)
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": arguments.width, "height": 900})
            page.goto(f"{url.rstrip('/')}/?__theme={theme}", wait_until="domcontentloaded")
            _prepare(page, arguments.concept, arguments.look)
            path = arguments.out / f"tab-{theme}.png"
            page.screenshot(path=path, full_page=True, clip=_frame(page))
            print(path)
            page.close()
        browser.close()


def _frame(page: Page) -> FloatRect:
    """Return the tab's place on the page, from its top to the end of the runs or of the one shown, if that is lower."""
    tab = page.locator("#ae_tab").first.bounding_box()
    boxes = [page.locator(name).first.bounding_box() for name in ("#ae_picks_block", "#ae_runs")]
    if tab is None:
        raise SystemExit("the tab cannot be seen on the page")
    bottom = max(box["y"] + box["height"] for box in boxes if box)
    margin = 12
    return {
        "x": max(0, tab["x"] - margin),
        "y": max(0, tab["y"] - margin),
        "width": tab["width"] + 2 * margin,
        "height": bottom - tab["y"] + 2 * margin,
    }


def _prepare(page: Page, concept: str, look: bool) -> None:
    """Fill in the form, and wait until everything in the picture is loaded."""
    page.get_by_role("tab", name="Adversarial Erase").or_(
        page.get_by_role("button", name="Adversarial Erase")
    ).first.click(timeout=SOON)
    if concept:
        box = page.locator("#ae_erase textarea, #ae_erase input").first
        box.wait_for(timeout=SOON)
        box.fill(concept)
        page.wait_for_function("!document.querySelector('button#ae_start, #ae_start button').disabled", timeout=SOON)
        box.blur()
    if look:
        page.locator("#ae_protect .label-wrap").first.click()
        page.locator("button#ae_look, #ae_look button").first.click()
        # Chips may be there from the run. While it is looked for more of them, there is a button to cancel that; a
        # search that is remembered ends at once.
        time.sleep(5)
        page.locator("[data-ae-action=search-cancel]").first.wait_for(timeout=10 * SOON, state="detached")
        page.locator("#ae_chips_block .ae-chip").first.wait_for(timeout=SOON)
    page.locator("#ae_status_block .ae").first.wait_for(timeout=SOON)
    page.locator("#ae_estimate_block .ae").first.wait_for(timeout=SOON)
    page.locator("#ae_grid_block img").first.wait_for(timeout=SOON)
    page.mouse.move(0, 0)
    page.evaluate("window.scrollTo(0, 0)")
    time.sleep(3)


if __name__ == "__main__":
    main()
