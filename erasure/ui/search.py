"""Looking for nearby concepts, as the tab shows it while it goes on."""

from __future__ import annotations

from markupsafe import Markup

from erasure.jobs.searching import SearchSnapshot
from erasure.ui.html import box, button, element, join, notes_html, problems_html, progress_bar

SEARCH_CANCEL = "search-cancel"
# What the button says that looks for nearby concepts, and what it says meanwhile.
FIND = "Find nearby concepts"
FINDING = "Finding nearby concepts …"


def search_html(search: SearchSnapshot | None) -> Markup:
    """Return progress with a button to cancel it, or why nothing was found; "" once the concepts are shown."""
    if search is None or search.state == "done":
        return Markup("")
    if search.state == "failed":
        return problems_html([search.problem], "Nearby concepts could not be found")
    if search.state == "cancelled":
        return notes_html([f"Looking for concepts near {', '.join(search.erase)} was cancelled."])
    stage = search.stage if search.stage is not None and search.stage.total > 0 else None
    bar = progress_bar(
        f"{100 * stage.done / stage.total:.2f}" if stage else "0",
        str(stage.done) if stage else None,
        str(stage.total) if stage else "1",
        FINDING,
        said=str(stage) if stage else None,
    )
    said = element("span", f"Near {', '.join(search.erase)}: {search.message}")
    cancel = button("Cancel", SEARCH_CANCEL, "", title="end it; nothing of it is kept", kind="quiet-button")
    actions = box("actions-row", element("div", cancel, class_="ae-actions"))
    return join([box("progress", bar, element("div", said, class_="ae-progress-text")), actions])
