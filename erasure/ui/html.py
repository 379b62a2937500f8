"""The few pieces that all of the tab's HTML is built of. Whatever text goes in comes out escaped; there are no scripts.

What can be clicked is ``<button type="button" data-ae-action=... data-ae-value=...>``; the page's script delegates
clicks, asks the question in ``data-ae-confirm`` first where there is one, and keeps each ``<details data-ae-keep=...>``
as open as it was when its HTML is replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

# Outlines on a 16 x 16 grid, drawn in the colour of the text around them.
_ICONS = {
    "clock": '<circle cx="8" cy="8" r="6"/><path d="M8 4.6V8l2.4 1.6"/>',
    "ring": '<circle cx="8" cy="8" r="6" class="ae-track"/><path d="M8 2a6 6 0 0 1 6 6" class="ae-arc"/>',
    "pause": '<path d="M5.5 3.5v9M10.5 3.5v9"/>',
    "square": '<rect x="4" y="4" width="8" height="8" rx="1.2"/>',
    "check": '<circle cx="8" cy="8" r="6"/><path d="M5.3 8.2l1.9 1.9 3.6-4"/>',
    "cross": '<circle cx="8" cy="8" r="6"/><path d="M8 4.8v3.8M8 11v.1"/>',
    "bolt": '<path d="M9 2L4 9h3.6L7 14l5-7H8.4z"/>',
    "info": '<circle cx="8" cy="8" r="6"/><path d="M8 7.4V11M8 5v.1"/>',
    "warning": '<path d="M8 2.5l6 10.8H2z"/><path d="M8 6.6v3M8 11.4v.1"/>',
    "lock": '<rect x="3.8" y="7" width="8.4" height="6.2" rx="1.2"/><path d="M5.6 7V5.2a2.4 2.4 0 0 1 4.8 0V7"/>',
    "shield": '<path d="M8 2l5 1.8v3.7c0 3-2.1 5.3-5 6.5-2.9-1.2-5-3.5-5-6.5V3.8z"/>',
    "fade": '<circle cx="8" cy="8" r="6" stroke-dasharray="2.2 2.2"/>',
    "spark": '<path d="M8 2v3.2M8 10.8V14M2 8h3.2M10.8 8H14M4 4l2 2M10 10l2 2M12 4l-2 2M6 10l-2 2"/>',
    "copy": '<rect x="5.5" y="5.5" width="8" height="8" rx="1.2"/><path d="M3.5 10.5h-.8v-8h8v.8"/>',
}


def text(value: object) -> str:
    """``value`` as text for content and for quoted attributes alike."""
    return escape(str(value), quote=True)


def icon(name: str) -> str:
    """A small decorative drawing; the word beside it carries the meaning."""
    return f'<svg class="ae-icon ae-icon-{name}" viewBox="0 0 16 16" aria-hidden="true">{_ICONS[name]}</svg>'


def box(kind: str, *parts: str, role: str = "") -> str:
    """The outermost element of everything: ``<div class="ae ae-KIND">``; all styles are bound to ``ae``."""
    return f'<div class="ae ae-{kind}"{_attribute("role", role)}>{"".join(parts)}</div>'


def button(
    label: str,
    action: str,
    value: str,
    *,
    title: str = "",
    kind: str = "button",
    html: str = "",
    confirm: str = "",
    pressed: bool | None = None,
) -> str:
    """A button that says ``label`` (or shows ``html``, which is then named by ``title``)."""
    name = f"{label}: {title}" if label and title else label or title
    state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    return (
        f'<button type="button" class="ae-{kind}" data-ae-action="{text(action)}" data-ae-value="{text(value)}"'
        f"{_attribute('title', title)}{_attribute('aria-label', name)}{_attribute('data-ae-confirm', confirm)}{state}>"
        f"{html or text(label)}</button>"
    )


def more(summary: str, html: str, *, keep: str) -> str:
    """``html`` folded away under a line; ``keep`` names it, so that a script can keep it open over updates."""
    return (
        f'<details class="ae-more" data-ae-keep="{text(keep)}"><summary>{text(summary)}</summary>'
        f'<div class="ae-more-body">{html}</div></details>'
    )


def picture(src: str, alt: str, kind: str = "picture", *, lazy: bool = False) -> str:
    """Empty for a source that is neither a path on this server, nor http(s), nor an image's data."""
    if not src.startswith(("/", "http://", "https://", "data:image/")):
        return ""
    later = ' loading="lazy" decoding="async"' if lazy else ""
    return f'<img class="ae-{kind}" src="{text(src)}" alt="{text(alt)}"{later}>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values, as text."""
    cells = "".join(
        f'<div class="ae-fact"><dt>{text(name)}</dt><dd>{text(value)}</dd></div>' for name, value in rows if value
    )
    return f'<dl class="ae-facts">{cells}</dl>' if cells else ""


def empty_html(sentence: str, hint: str = "") -> str:
    """Where nothing is yet: a friendly sentence, and what to do about it."""
    second = f'<p class="ae-quiet">{text(hint)}</p>' if hint else ""
    return box("empty", icon("spark"), f"<div><p>{text(sentence)}</p>{second}</div>")


def problems_html(problems: Iterable[str], title: str = "") -> str:
    """What went wrong or stands in the way, each on a line of its own; "" if there is none."""
    return _lines("problems", "warning", problems, title, role="alert")


def notes_html(notes: Iterable[str], title: str = "") -> str:
    """What is worth knowing; "" if there is nothing."""
    return _lines("notes", "info", notes, title)


def _lines(kind: str, drawing: str, lines: Iterable[str], title: str, role: str = "") -> str:
    items = [line for line in dict.fromkeys(lines) if line.strip()]
    if not items:
        return ""
    head = f'<p class="ae-lines-title">{text(title)}</p>' if title else ""
    body = (
        f"<p>{text(items[0])}</p>"
        if len(items) == 1
        else f'<ul class="ae-lines">{"".join(f"<li>{text(line)}</li>" for line in items)}</ul>'
    )
    return box(kind, icon(drawing), f"<div>{head}{body}</div>", role=role)


def _attribute(name: str, value: str) -> str:
    return f' {name}="{text(value)}"' if value else ""
