"""How far an errand is, as the tab shows it, with a button to end it."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from erasure.ui.html import box, button, element, join, notes_html, progress_bar


def errand_progress(title: str, message: str, share: float, notes: Iterable[str], cancel: str) -> Markup:
    """Return a bar with a text. ``share``: what is done, from 0 to 1; ``cancel``: the action of the button."""
    percent = f"{100 * share:.0f}"
    bar = progress_bar(percent, percent if share else None, "100", title)
    words = element(
        "div", element("span", f"{title}: {message}"), element("span", f"{percent}%"), class_="ae-progress-text"
    )
    end = button("Cancel", cancel, "", title="end it; nothing of it is left", kind="quiet-button")
    actions = box("actions-row", element("div", end, class_="ae-actions"))
    return join([box("progress", bar, words), notes_html(notes), actions])
