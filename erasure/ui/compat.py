"""What differs between gradio 3.41 and 6, in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from markupsafe import escape


def listen(
    event: Callable[..., Any],
    fn: Callable[..., Any] | None,
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    *,
    js: str | None = None,
    progress: bool = False,
    latest: bool = False,
) -> Any:
    """Let ``event`` (say ``button.click``) call ``js`` in the page and then ``fn``. Return what gradio gives for that.

    Such a call has no name in gradio's own API, runs beside others of its kind, and never goes through gradio's queue,
    which a web UI may have switched off and which gives up on long calls in gradio 3. ``progress``: gradio shows that
    it is working. ``latest``: of several triggers during a call, only the last is served after it (gradio 3 serves
    all).
    """
    parameters = inspect.signature(event).parameters
    options: dict[str, Any] = {"show_progress": "full" if progress else "hidden", "queue": False}
    if js is not None:
        options["js" if "js" in parameters else "_js"] = js
    if "api_visibility" in parameters:
        options["api_visibility"] = "private"
    else:
        options["api_name"] = False
    if "concurrency_limit" in parameters:
        options["concurrency_limit"] = None
    if latest and "trigger_mode" in parameters:
        options["trigger_mode"] = "always_last"
    return event(fn, list(inputs), list(outputs), **options)


def leaf(component: Any) -> Any:
    """Return the component, marked so that AUTOMATIC1111 does not save its first value and go on using that."""
    component.do_not_save_to_config = True
    return component


def choices(names: Sequence[str], **options: Any) -> Any:
    """Return a dropdown from which several can be chosen, and whose names may change while the page is open."""
    given = {"value": [], "multiselect": True, **options}
    try:
        return leaf(gr.Dropdown(list(names), allow_custom_value=True, **given))
    except ValueError:  # gradio 3 does not allow that for several, but then checks no name either
        return leaf(gr.Dropdown(list(names), **given))


def html(value: str, label: str, elem_id: str, **options: Any) -> Any:
    """Return an HTML component without a visible label, and without the padding that newer versions put around it.

    A ``value`` that is no Markup is shown as text.
    """
    if "padding" in inspect.signature(gr.HTML).parameters:
        options["padding"] = False
    return leaf(gr.HTML(escape(value), label=label, show_label=False, elem_id=elem_id, **options))
