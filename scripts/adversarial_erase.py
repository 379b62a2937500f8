"""What the web UI picks up: the tab, the settings and the API. The web UI starts even if something fails here."""

from __future__ import annotations

import html
import sys
import traceback
from pathlib import Path
from typing import Any

import gradio as gr
from modules import script_callbacks

TAB = ("Adversarial Erase", "adversarial_erase")


def _trouble() -> str:
    """Return why the extension cannot work here, in one line with the command that fixes it; "" if it can."""
    try:
        # Now, while the extension's folder is on sys.path; later imports find the rest through the package.
        from erasure.host import loaded_code, program, requirements

        if line := program.unsupported(Path(script_callbacks.__file__).parents[1]):
            return line
        if line := loaded_code.outdated():
            return line
        from erasure.host import webui

        webui.host()
        missing = requirements.unmet()
        return f"Adversarial Erase cannot work yet: {requirements.advice(missing)}" if missing else ""
    except ImportError as error:
        name = error.name or "a package"
        if name == "modules" or name.startswith("modules."):  # the web UI's own: no package of this name would help
            return program.lacking(error.msg)
        fix = f'"{sys.executable}" -m pip install {name}'
        return f"{name} cannot be imported ({error}). Run: {fix} and restart the web UI."
    except Exception as error:
        traceback.print_exc()
        return f"Adversarial Erase could not be started: {type(error).__name__}: {error} (details in the console)"


trouble = _trouble()


def on_ui_tabs() -> list[tuple[gr.Blocks, str, str]]:
    """Return the tab, or a line that says why it cannot be made."""
    if trouble:
        return [(_message(trouble), *TAB)]
    try:
        from erasure.host import webui
        from erasure.jobs.manager import manager_of
        from erasure.ui.tab import build_tab

        tab = gr.Blocks(analytics_enabled=False)
        with tab:
            build_tab(webui.host(), manager_of(webui.host()))
        return [(tab, *TAB)]
    except Exception as error:
        traceback.print_exc()
        what = f"The tab could not be made: {type(error).__name__}: {error} (details in the console)"
        return [(_message(what), *TAB)]


def on_app_started(demo: Any, app: Any) -> None:
    """Mount the API on each new app; ``demo`` is None if there is no page."""
    from erasure.api.guard import make_guard
    from erasure.api.routes import mount_api
    from erasure.host import webui
    from erasure.jobs.manager import manager_of

    host = webui.host()
    if demo is None:  # without a page, nobody asked for the settings
        webui.add_settings()
    webui.keep_private(demo)
    manager = manager_of(host)
    mount_api(app, manager, host, make_guard(app, webui.api_accounts()))
    host.before_exit(manager.close)


def on_ui_settings() -> None:
    """Add the section of the settings page."""
    from erasure.host import webui

    webui.add_settings()


def on_infotext_pasted(infotext: str, params: dict[str, Any]) -> None:
    """Let a pasted picture be drawn again with what was always on where it came from."""
    from erasure.host import webui

    webui.host().keeper.pasted(infotext, params)


def _message(text: str) -> gr.Blocks:
    tab = gr.Blocks(analytics_enabled=False)
    with tab:
        gr.HTML(f'<p class="ae-trouble" role="alert">{html.escape(text)}</p>')
    return tab


script_callbacks.on_ui_tabs(on_ui_tabs)
if not trouble:
    script_callbacks.on_ui_settings(on_ui_settings)
    script_callbacks.on_app_started(on_app_started)
    script_callbacks.on_infotext_pasted(on_infotext_pasted)
