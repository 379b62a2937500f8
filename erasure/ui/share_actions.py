"""The work behind the part of the tab that shares a LoRA: plain values go in, HTML comes out."""

from __future__ import annotations

from typing import Any

from erasure.errors import ConfigError
from erasure.host.base import Host
from erasure.jobs.lora_files import lora_file
from erasure.jobs.manager import JobManager
from erasure.jobs.uploading import UploadRequest
from erasure.share.order import share_order
from erasure.ui.actions import problem_lines
from erasure.ui.html import problems_html
from erasure.ui.page import Page
from erasure.ui.share import shared_html
from erasure.ui.upload import PUBLISH, offer_html


def share(
    host: Host, manager: JobManager, lora: str, license: str, *, overwrite: bool = False, **given: Any
) -> str:  # fmt: skip
    """Make the folder of a file of the Lora folder. ``given``: as :func:`erasure.share.order.share_order` takes it.

    Return where it is, or why there is none, as HTML.
    """
    shown: list[str] = []

    def work() -> None:
        file = lora_file(host.lora_folder(), lora)
        order = share_order(file, license, run=manager.run_of(file), **given)
        shown.append(shared_html(manager.sharing.share(order, overwrite=overwrite)))

    problems = problem_lines(work)
    return problems_html(problems, "This cannot be shared yet") if problems else shown[0]


def offer(manager: JobManager, request: UploadRequest) -> str:
    """Ask what would be uploaded. Return it as HTML with a button that confirms it, or why it cannot be."""
    shown: list[str] = []

    def work() -> None:
        if not request.lora:
            raise ConfigError(["choose the LoRA to share, and make its folder"])
        shown.append(offer_html(manager.uploading.offer(request)))

    problems = problem_lines(work)
    return problems_html(problems, "This cannot be uploaded yet") if problems else shown[0]


def publish(manager: JobManager, page: Page) -> str:
    """Begin to upload what was confirmed, or let it be. Return problems as HTML, "" if all went well."""
    if page.action != PUBLISH:
        return ""
    return problems_html(problem_lines(lambda: manager.uploading.start(page.value)), "This was not uploaded")
