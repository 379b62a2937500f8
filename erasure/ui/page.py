"""What a page sends with every call: which run it shows, and which blocks it has already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from markupsafe import Markup

from erasure import bounded_json
from erasure.ui.html import element


@dataclass(frozen=True)
class Page:
    """What one page sent with one call.

    ``serial`` counts the page's calls. ``job`` is the run that it shows, "" for the one of most interest; ``step`` says
    which pictures, None for the last. ``seen`` tells what the page was drawn from, ``tokens`` which version of every
    block it has. ``filled`` is the LoRA name that its script filled in last: any other in the box is the user's own."""

    serial: int = 0
    action: str = ""
    value: str = ""
    job: str = ""
    step: int | None = None
    seen: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict)
    filled: str = ""


def read_page(message: str | None) -> Page:
    """Return what the page's script sent; whatever makes no sense is left at its default."""
    try:
        values = bounded_json.parse(message or "{}")
    except ValueError:
        return Page()
    if not isinstance(values, dict):
        return Page()
    tokens = values.get("tokens")
    step = _whole(values.get("step"))
    return Page(
        serial=_whole(values.get("serial")) or 0,
        action=_text(values.get("action")),
        value=_text(values.get("value")),
        job=_text(values.get("job")),
        step=step,
        seen=_text(values.get("seen")),
        tokens={str(name): _text(token) for name, token in tokens.items()} if isinstance(tokens, dict) else {},
        filled=_text(values.get("filled")),
    )


def block(name: str, html: str, **data: str) -> Markup:
    """Return ``html`` as one block of the page, with its token; ``data`` becomes ``data-ae-...`` attributes."""
    return element(
        "div", html, class_="ae-block", data_ae_block=name, data_ae_token=_token(html, data), **_attributes(data)
    )


def news(page: Page, name: str, html: str, **data: str) -> Markup | None:
    """Return the block, or None if the page shows exactly that already."""
    return None if page.tokens.get(name) == _token(html, data) else block(name, html, **data)


def answer(page: Page, html: str, **data: str) -> Markup:
    """Return ``html``, marked as the answer to the page's call ``serial``; ``data`` as for a block."""
    return element("div", html, class_="ae-answer", data_ae_answer=str(page.serial), **_attributes(data))


def _token(html: str, data: Mapping[str, str]) -> str:
    """Return a text that is different for every content of a block."""
    return blake2b("\0".join([html, *map(str, data.items())]).encode(), digest_size=6).hexdigest()


def _attributes(data: Mapping[str, str]) -> dict[str, str]:
    return {f"data_ae_{key}": value for key, value in data.items()}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
