"""The stand-alone app: the tab, a small txt2img and the API on one server, without a web UI."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from erasure.api.guard import make_guard
from erasure.api.routes import mount_api
from erasure.errors import RunError
from erasure.host.local import LocalHost
from erasure.jobs.manager import JobManager
from erasure.ui import web_files
from erasure.ui.compat import listen
from erasure.ui.tab import build_tab
from erasure.ui.txt2img import draw_txt2img

TITLE = "Adversarial Erase"
# A LoRA is inserted into the prompt of the other tab, which must be in the page for that. Gradio 5 and 6 draw a tab
# only when it is first shown; 6 does so even with ``render_children``.
_VISIT_ONCE = """
let left = 100;
const visit = setInterval(() => {
  const [first, second] = document.querySelectorAll("#tabs [role=tab]");
  const drawn = document.getElementById("txt2img_prompt");
  if (!drawn && second && second.getAttribute("aria-selected") !== "true") second.click();
  else if (drawn && first && left < 100) first.click();
  if (drawn || !(left -= 1)) clearInterval(visit);
}, 50);
"""
# Fonts of the machine itself: those of the themes are fetched from the network.
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "monospace")


@dataclass(frozen=True)
class Server:
    """The running app. ``close`` ends it, after a running job has saved its state."""

    url: str
    close: Callable[[], None]


def serve(
    host: LocalHost,
    manager: JobManager,
    *,
    port: int | None = None,
    listen: bool = False,
    accounts: Mapping[str, str] | None = None,
    browser: bool = False,
) -> Server:
    """Start the app in threads of its own, and return.

    ``port``: None for the first free one from 7860 on. ``listen``: let other machines connect. ``accounts``: user ->
    password, for page and API alike. Raises: RunError if the port is taken.
    """
    looks = _looks()
    page = build_page(host, manager, looks)
    options: dict[str, Any] = {
        "server_name": "0.0.0.0" if listen else "127.0.0.1",
        "server_port": port,
        "auth": list(accounts.items()) if accounts else None,
        "inbrowser": browser,
        "share": False,
        "quiet": True,
        "prevent_thread_lock": True,
        "ssr_mode": False,
        **looks,
    }
    try:
        app, url, _ = page.queue().launch(**_known(page.launch, options))
    except OSError as error:
        page.close(verbose=False)
        which = f"port {port}" if port else "any port from 7860 on"
        raise RunError(f"the app cannot listen on {which}: another program does; choose another --port") from error
    mount_api(app, manager, host, make_guard(app, accounts))

    def close() -> None:
        manager.close()
        page.close(verbose=False)

    return Server(url, close)


def build_page(host: LocalHost, manager: JobManager, looks: Mapping[str, Any] | None = None) -> gr.Blocks:
    """Return the page with its two tabs. ``looks`` go to the Blocks up to gradio 5, and to ``launch`` from 6 on."""
    looks = _looks() if looks is None else looks
    drawn = _known(gr.Tab, {"render_children": True})
    page = gr.Blocks(title=TITLE, analytics_enabled=False, **_known(gr.Blocks, looks))
    with page:
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(TITLE, elem_id="tab_adversarial_erase", **drawn):
                build_tab(host, manager)
            with gr.Tab("txt2img", elem_id="tab_txt2img", **drawn):
                draw_txt2img(host)
        start = _VISIT_ONCE if _has_head() else web_files.script() + _VISIT_ONCE
        listen(page.load, None, js=f"() => {{ {start} }}")
    return page


def _looks() -> dict[str, Any]:
    theme = gr.themes.Default(font=_FONTS, font_mono=_MONO)
    style = web_files.style()
    if not _has_head():
        return {"theme": theme, "css": style}
    # gradio rewrites the selectors of ``css``; what is in the head stays as it was written.
    return {"theme": theme, "head": f"<style>\n{style}\n</style>\n<script>\n{web_files.script()}\n</script>"}


def _has_head() -> bool:
    return any("head" in inspect.signature(each).parameters for each in (gr.Blocks, gr.Blocks.launch))


def _known(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that this version of gradio has."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in known}
