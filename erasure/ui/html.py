"""The few pieces that all of the tab's HTML is built of. None of them holds a script.

HTML is markupsafe's ``Markup``, and any other text that is put into it comes out escaped: nothing has to be escaped by
hand, so nothing can be forgotten. HTML in an f-string is no ``Markup``; it would be shown as text.

What can be clicked is ``<button type="button" data-ae-action=... data-ae-value=...>``. The page's script handles the
clicks, and first asks the question in ``data-ae-confirm`` if there is one. When HTML is replaced, it keeps each
``<details data-ae-keep=...>`` open or closed as it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

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


def element(tag: str, *content: str | int, **attributes: str | None) -> Markup:
    """Return ``<tag name="value">content</tag>``; values are escaped, and so is content that is not HTML yet.

    In a name, ``_`` stands for ``-``; ``class_`` is ``class``. An attribute that is None is left out, "" is not.
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    given = join(Markup(' {}="{}"').format(name, value) for name, value in named.items() if value is not None)
    opened = Markup("<{}{}>").format(tag, given)
    return opened if tag == "img" else opened + join(content) + Markup("</{}>").format(tag)


def join(parts: Iterable[str | int]) -> Markup:
    """Return the parts one after the other; what is not HTML yet is escaped."""
    return Markup("").join(map(_part, parts))


def icon(name: str) -> Markup:
    """Return a small decorative drawing; the word beside it carries the meaning."""
    drawing = Markup('<svg class="ae-icon ae-icon-{}" viewBox="0 0 16 16" aria-hidden="true">{}</svg>')
    return drawing.format(name, Markup(_ICONS[name]))


def box(kind: str, *parts: str, role: str = "") -> Markup:
    """Return the outermost element of a piece, ``<div class="ae ae-KIND">``; all styles are bound to ``ae``."""
    return element("div", *parts, class_=f"ae ae-{kind}", role=role or None)


def button(
    label: str,
    action: str,
    value: str,
    *,
    title: str = "",
    kind: str = "button",
    html: Markup | None = None,
    confirm: str = "",
    pressed: bool | None = None,
) -> Markup:
    """Return a button that shows ``label``, or ``html`` in its place. ``title`` says what it does; ``confirm`` is the
    question that is asked first."""
    name = f"{label}: {title}" if label and title else label or title
    return element(
        "button",
        label if html is None else html,
        type="button",
        class_=f"ae-{kind}",
        data_ae_action=action,
        data_ae_value=value,
        title=title or None,
        aria_label=name or None,
        data_ae_confirm=confirm or None,
        aria_pressed=None if pressed is None else str(pressed).lower(),
    )


def more(summary: str, html: str, *, keep: str) -> Markup:
    """Return ``html`` folded away under a line; ``keep`` is the name by which the page's script keeps it open."""
    body = element("div", html, class_="ae-more-body")
    return element("details", element("summary", summary), body, class_="ae-more", data_ae_keep=keep)


def picture(src: str, alt: str, kind: str = "picture", *, lazy: bool = False) -> Markup:
    """Return an image, "" for a source that is neither a path on this server, nor http(s), nor an image's data."""
    if not src.startswith(("/", "http://", "https://", "data:image/")):
        return Markup("")
    later = {"loading": "lazy", "decoding": "async"} if lazy else {}
    return element("img", class_=f"ae-{kind}", src=src, alt=alt, **later)


def facts(rows: Iterable[tuple[str, str]]) -> Markup:
    """Return names and values as a list, without those whose value is empty."""
    cells = [
        element("div", element("dt", name), element("dd", value), class_="ae-fact") for name, value in rows if value
    ]
    return element("dl", *cells, class_="ae-facts") if cells else Markup("")


def quiet(words: str) -> Markup:
    """Return words that carry less weight than those around them."""
    return element("span", words, class_="ae-quiet")


def heading_html(words: str) -> Markup:
    """Return a heading for a group of controls."""
    return box("heading", element("h4", words))


def empty_html(sentence: str, hint: str = "") -> Markup:
    """Return what stands where nothing is yet: a friendly sentence, and what to do."""
    second = element("p", hint, class_="ae-quiet") if hint else ""
    return box("empty", icon("spark"), element("div", element("p", sentence), second))


def problems_html(problems: Iterable[str], title: str = "") -> Markup:
    """Return what went wrong or stands in the way, each on a line of its own; "" if there is nothing."""
    return _lines("problems", "warning", problems, title, role="alert")


def notes_html(notes: Iterable[str], title: str = "") -> Markup:
    """Return what is worth knowing, each on a line of its own; "" if there is nothing."""
    return _lines("notes", "info", notes, title)


def progress_bar(
    width: str, now: str | None, most: str, label: str, *, kind: str = "", said: str | None = None
) -> Markup:
    """Return a bar that is filled by ``width``, a number of percents; it moves while ``now`` is None, not known.

    ``now`` of ``most`` is for screen readers, or ``said``, the same in words; ``kind`` is a class of its own.
    """
    classes = ["ae-bar", kind, "ae-moving" if now is None else ""]
    return element(
        "div",
        element("div", class_="ae-bar-fill", style=f"width:{width}%"),
        class_=" ".join(name for name in classes if name),
        role="progressbar",
        aria_label=label,
        aria_valuemin="0",
        aria_valuemax=most,
        aria_valuenow=now,
        aria_valuetext=said,
    )


def _lines(kind: str, drawing: str, lines: Iterable[str], title: str, role: str = "") -> Markup:
    items = [line for line in dict.fromkeys(lines) if line.strip()]
    if not items:
        return Markup("")
    head = element("p", title, class_="ae-lines-title") if title else ""
    several = element("ul", *(element("li", line) for line in items), class_="ae-lines")
    body = element("p", items[0]) if len(items) == 1 else several
    return box(kind, icon(drawing), element("div", head, body), role=role)


def _part(part: str | int) -> str:
    return part if isinstance(part, str) else str(part)
