"""How a component of the tab calls a handler: with the page's message first, whatever the version of gradio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from erasure.ui.compat import listen
from erasure.ui.components import Components
from erasure.ui.page import read_page

Handler = Callable[..., list[Any]]


def call(
    components: Components,
    component: Any,
    says: str,
    handler: Handler,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    *,
    trigger: str = "click",
    slow: bool = False,
    latest: bool = False,
) -> Any:
    """Let the component call the handler with the page and the inputs. Return gradio's description of the event.

    ``says``: the name of the call in the page's script. A None in the handler's answer leaves that output as it is.
    """

    def answered(message: str, *given: Any) -> Any:
        made = [gr.update() if value is None else value for value in handler(read_page(message), *given)]
        return made[0] if len(made) == 1 else made

    # gradio up to 5 hands the values of the outputs over as well; sent back, they would shift the inputs.
    given = f"...rest.slice(0, {len(inputs)})"
    js = f"(message, ...rest) => [window.adversarialErase.message({says!r}), {given}]"
    return listen(
        getattr(component, trigger),
        answered,
        [components.message, *inputs],
        outputs,
        js=js,
        progress=slow,
        latest=latest,
    )
