"""Uploading a shared LoRA, as the tab shows it: what would be published, how far it is, and what came of it."""

from __future__ import annotations

from markupsafe import Markup

from erasure.jobs.uploading import UploadOffer, UploadSnapshot
from erasure.ui.errand import errand_progress
from erasure.ui.html import box, button, element, facts, icon, notes_html, problems_html
from erasure.ui.units import size

PUBLISH, NOT_NOW = "publish", "publish-not"  # actions of the buttons
UPLOAD_CANCEL = "upload-cancel"


def offer_html(offer: UploadOffer) -> Markup:
    """Return what would be published, to where, who sees it, and as whom, with a button that does it."""
    kind = _kind(offer.public)
    rows = [
        ("What", f"{len(offer.files)} files, {size(offer.size)}: {', '.join(offer.files)}"),
        ("Where", f"the {kind} repository {offer.repo} on the Hugging Face Hub"),
        ("Who sees it", "everybody" if offer.public else "whoever may see the owner's private repositories"),
        ("As", f"{offer.account}, whose login this machine has"),
        ("Replaces", "other files of these names that are there" if offer.overwrite else ""),
    ]
    name = f"Publish {offer.lora} in {offer.repo} ({kind}) as {offer.account}"
    buttons = [
        button(name, PUBLISH, offer.confirm, title="begin to upload"),
        button("Not now", NOT_NOW, "", title="nothing is uploaded", kind="quiet-button"),
    ]
    return box(
        "result",
        element("div", icon("info"), element("h3", f"Publish {offer.lora}?"), class_="ae-result-head"),
        facts(rows),
        element("div", *buttons, class_="ae-actions"),
    )


def upload_html(upload: UploadSnapshot | None) -> Markup:
    """Return progress with a button to cancel it, or a link to what came of it, or why nothing did; "" before any."""
    if upload is None:
        return Markup("")
    if upload.state == "uploading":
        title = f"Uploading {upload.lora} to {upload.repo}"
        return errand_progress(title, upload.message, upload.share, upload.notes, UPLOAD_CANCEL)
    if upload.state == "failed":
        return problems_html([upload.problem], f"{upload.lora} could not be uploaded")
    if upload.state == "cancelled":
        said = f"Uploading {upload.lora} was cancelled, and nothing of it is published."
        return notes_html([said, f"The repository {upload.repo} may be there already, without it."])
    rows = [
        ("Where", f"the {_kind(upload.public)} repository {upload.repo}, as {upload.account}"),
        ("Files", ", ".join(upload.files)),
    ]
    return box(
        "result",
        element("div", icon("check"), element("h3", f"{upload.lora} is uploaded"), class_="ae-result-head"),
        facts(rows),
        element("div", _link(upload.url), class_="ae-actions"),
    )


def _link(url: str) -> Markup:
    """Return a link that opens beside the page; plain text for what is no address of a web page."""
    if not url.startswith(("https://", "http://")):
        return element("p", url)
    return element("a", url, href=url, target="_blank", rel="noopener noreferrer", class_="ae-button")


def _kind(public: bool) -> str:
    return "public" if public else "private"
