"""The work behind the tab's controls, without gradio: plain values go in, HTML and plain values come out."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from erasure.config.settings import EraseConfig
from erasure.config.settle import decided, notes_of
from erasure.config.template import fill
from erasure.errors import ConfigError, EraseError, JobNotFound, RunError
from erasure.host.base import Host, TextToImage
from erasure.host.data_folder import DataFolder
from erasure.jobs.baking import BakeRequest
from erasure.jobs.checking import check_checkpoint, check_received
from erasure.jobs.combining import CombineRequest
from erasure.jobs.estimate import estimate
from erasure.jobs.job import ACTIVE, Snapshot
from erasure.jobs.lora_files import lora_file
from erasure.jobs.manager import JobManager
from erasure.jobs.measuring import MeasureRequest
from erasure.jobs.order import Order, find_checkpoint, start_problems
from erasure.jobs.problems import describe
from erasure.ui.bake import BAKE_CANCEL
from erasure.ui.cards import changed_by, estimate_html
from erasure.ui.combine import COMBINE_CANCEL
from erasure.ui.html import notes_html, problems_html
from erasure.ui.keep_on import keep, kept_html, kept_weights, turn_off
from erasure.ui.measure import CANCEL
from erasure.ui.other_base import other_base
from erasure.ui.page import Page
from erasure.ui.picture_html import pair_html, single_html
from erasure.ui.search import SEARCH_CANCEL
from erasure.ui.share import baked_html, received_html
from erasure.ui.upload import UPLOAD_CANCEL
from erasure.ui.weights import weighted_files

logger = logging.getLogger(__name__)


def problem_lines(work: Callable[[], Any]) -> list[str]:
    """Call ``work`` and return its problems, one per line; an empty list if all went well."""
    try:
        work()
    except ConfigError as error:
        return list(error.problems)
    except EraseError as error:
        return str(error).splitlines()
    except Exception as error:
        logger.exception("unexpected error in the tab")
        return [describe(error)]
    return []


def check_order(host: Host, order: Order) -> tuple[str, bool]:
    """Return the HTML beside the start button, and whether the button may be pressed."""
    shown: list[str] = []

    def work() -> None:
        problems = start_problems(host, order)
        if problems:
            raise ConfigError(problems)
        request = order.request()
        runs = DataFolder(host.data_folder()).runs
        expected = estimate(request.config, request.checkpoint, host.device(), runs)
        shown.append(estimate_html(expected) + _differences(request.config))

    if not order.settled.values["erase"]:
        return notes_html(["Name a concept to erase."]), False
    problems = problem_lines(work)
    return (estimate_html(None, problems), False) if problems else (shown[0], True)


def _differences(config: EraseConfig) -> str:
    """Return notes on settings whose value will not be the one in the form."""
    # The form already says what a learning rate of 0 means.
    used = [f"{name} = {value}" for name, value in decided(config).items() if name != "learning_rate"]
    by_method = [f"Method {config.method} uses {', '.join(used)}."] if used else []
    return notes_html([*by_method, *notes_of(config)])


def start(host: Host, manager: JobManager, order: Order) -> tuple[str, dict[str, str]]:
    """Queue a job. Return the outcome as HTML, and for how long it holds, as the data of an answer.

    The page's script takes it away once the job ``started`` has ended, or no longer ``waits`` for its turn.
    """
    ids: list[str] = []

    def work() -> None:
        request = order.request()
        host.lora_folder().mkdir(parents=True, exist_ok=True)
        ids.append(manager.submit(request))

    problems = problem_lines(work)
    if problems:
        return problems_html(problems, "The run was not started"), {}
    waiting = sum(job.state in ACTIVE for job in manager.snapshots()) > 1
    said = f"{order.name} waits for its turn." if waiting else f"{order.name} has started."
    return notes_html([said]), {"started": ids[0], "waits": str(int(waiting))}


def act(manager: JobManager, page: Page) -> str:
    """Do what a button of a run asks for. Return problems as HTML, "" if all went well."""
    cancels = {
        CANCEL: manager.cancel_measurement,
        SEARCH_CANCEL: manager.cancel_search,
        BAKE_CANCEL: manager.cancel_bake,
        COMBINE_CANCEL: manager.cancel_combine,
        UPLOAD_CANCEL: manager.uploading.cancel,
    }
    if page.action in cancels:
        return problems_html(problem_lines(cancels[page.action]))
    if page.action not in ("pause", "resume", "stop", "discard", "delete", "train-on"):
        return problems_html([f"{page.action!r} is not an action of a run; reload the page"])
    action = getattr(manager, page.action.replace("-", "_"))
    return problems_html(problem_lines(lambda: action(page.value)))


def search(manager: JobManager, order: Order) -> str:
    """Begin to look for the concepts near those of the order. Return problems as HTML, "" if all went well."""

    def work() -> None:
        request = order.request()
        manager.search(request.checkpoint, request.config)

    return problems_html(problem_lines(work), "Nearby concepts cannot be looked for now")


def known_concepts(manager: JobManager, order: Order) -> dict[str, Any] | None:
    """Return the concept space of the order as plain values, None if it was not found yet."""
    try:
        request = order.request()
        return manager.known_concepts(request.checkpoint, request.config)
    except EraseError:  # the check of the order says why
        return None


def measure_lora(
    host: Host, manager: JobManager, checkpoint: str | None, lora: str, given: Mapping[str, Any], weight: float,
    usual: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """Begin to measure a file of the Lora folder on a checkpoint, given by its title. Return the outcome as HTML.

    ``given`` and ``usual`` as :func:`erasure.verdict.measurement.measure_task` takes them.
    """

    def work() -> None:
        found, missing = find_checkpoint(host, checkpoint)
        if found is None:
            raise ConfigError(missing)
        file = lora_file(host.lora_folder(), lora)
        manager.measure(MeasureRequest(found.path, file, given, weight, usual))

    return problems_html(problem_lines(work), "This cannot be measured")


def bake_loras(
    host: Host, manager: JobManager, checkpoint: str | None, loras: Sequence[str], weights: str, name: str
) -> str:
    """Begin to bake files of the Lora folder into a copy of a checkpoint, given by its title, that gets a name.

    ``weights``: one for all, or one for each. Return the outcome as HTML."""

    def work() -> None:
        found, missing = find_checkpoint(host, checkpoint)
        if found is None:
            raise ConfigError(missing)
        files = weighted_files(host.lora_folder(), loras, weights)
        manager.bake(BakeRequest(found.path, files, name.strip()))

    return problems_html(problem_lines(work), "This cannot be baked")


def combine_loras(
    host: Host, manager: JobManager, loras: Sequence[str], weights: str, rank: float | None, name: str,
    erase: Sequence[str] = (), *, draw: bool = False, checkpoint: str | None = None,
) -> str:  # fmt: skip
    """Begin to make one LoRA of files of the Lora folder. ``weights``: one for all, or one for each.

    ``draw``: pictures, with a checkpoint given by its title. Return the outcome as HTML."""

    def work() -> None:
        found, missing = find_checkpoint(host, checkpoint) if draw else (None, [])
        if missing:
            raise ConfigError(missing)
        request = _combination(host, loras, weights, rank, name, erase)
        manager.combine(replace(request, checkpoint=None if found is None else found.path))

    return problems_html(problem_lines(work), "These cannot be combined")


def refine_loras(
    host: Host, manager: JobManager, checkpoint: str | None, loras: Sequence[str], weights: str, rank: float | None,
    name: str, erase: Sequence[str] = (), rows: float | None = None,
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """Queue a job that trains on from files of the Lora folder, all together, on a checkpoint given by its title.

    Return the outcome as HTML, and for how long it holds, as :func:`start` does."""
    ids: list[str] = []

    def work() -> None:
        found, missing = find_checkpoint(host, checkpoint)
        if found is None:
            raise ConfigError(missing)
        request = _combination(host, loras, weights, rank, name, erase)
        ids.append(manager.refine(request, found.path, None if rows is None else _whole(rows)))

    problems = problem_lines(work)
    if problems:
        return problems_html(problems, "These cannot be refined"), {}
    name = manager.snapshot(ids[0]).name
    return notes_html([f"{name} is in the queue: it is shown like any other run."]), {"started": ids[0], "waits": "0"}


def _combination(
    host: Host, loras: Sequence[str], weights: str, rank: float | None, name: str, erase: Sequence[str]
) -> CombineRequest:
    """Raises: ConfigError."""
    files = weighted_files(host.lora_folder(), loras, weights)
    return CombineRequest(files, name.strip(), 0 if rank is None else _whole(rank), erase)


def _whole(number: float) -> float | int:
    """Return a number as an int if it is one: some versions of gradio give all of them as floats."""
    return int(number) if number == int(number) else number


def check_received_lora(host: Host, checkpoint: str | None, lora: str) -> str:
    """Check a file of the Lora folder, without measuring it, or if that is "", what is baked into the checkpoint.

    Return what was found as HTML."""
    shown: list[str] = []

    def work() -> None:
        found, missing = find_checkpoint(host, checkpoint)
        if found is None:
            raise ConfigError(missing)
        if not lora:
            shown.append(baked_html(check_checkpoint(found.path)))
            return
        shown.append(received_html(check_received(lora_file(host.lora_folder(), lora), found.path)))

    problems = problem_lines(work)
    return problems_html(problems, "This cannot be checked") if problems else shown[0]


def keep_on(host: Host, lora: str, weight: float, checkpoint: str) -> str:
    """Keep a LoRA on, for a checkpoint or, if that is "", for all. Return the list, or why it stays as it is."""
    problems = problem_lines(lambda: keep(host, lora, weight, checkpoint))
    return problems_html(problems, "This LoRA cannot be kept on") + kept_html(host)


def keep_off(host: Host, value: str) -> str:
    """Turn off the rule whose button was pressed. Return the list, or why it stays as it is."""
    problems = problem_lines(lambda: turn_off(host, value))
    return problems_html(problems, "The list was not changed") + kept_html(host)


def lora_of_run(host: Host, manager: JobManager, id: str) -> str | None:
    """Return the name that a run's LoRA has among those of the Lora folder, None if it is not there."""
    try:
        result = manager.snapshot(id).result
        path = None if result is None else Path(result.path).relative_to(host.lora_folder())
    except (EraseError, ValueError):
        return None
    return None if path is None else path.with_suffix("").as_posix()


def try_it(host: Host, manager: JobManager, run: Snapshot | None, prompt: str, seed: int | None, weight: float) -> str:
    """Draw one prompt with one seed in the host, without and with the run's LoRA. Return both as HTML.

    A LoRA that is always on is in both, so if it is the run's, only one is drawn: else this would be the way around it.
    """
    shown: list[str] = []

    def work() -> None:
        if run is None or run.result is None:
            raise JobNotFound("this run has no LoRA to try yet; wait until it is done")
        busy = next((job for job in manager.snapshots() if job.state in ACTIVE and job.state not in _RESTING), None)
        if busy is not None:
            raise RunError(f"{busy.name} is using the device; pause it, or wait until it is done")
        measured = manager.measurement()
        if measured is not None and measured.state == "measuring":
            raise RunError(f"{measured.lora} is being measured on the device; cancel that, or wait until it ends")
        search = manager.search_snapshot()
        if search is not None and search.state == "searching":
            raise RunError("nearby concepts are being looked for on the device; cancel that, or wait until it ends")
        baked = manager.bake_snapshot()
        if baked is not None and baked.state == "baking":
            raise RunError(f"{baked.name} is being baked; cancel that, or wait until it ends")
        combined = manager.combine_snapshot()
        if combined is not None and combined.state == "combining":
            raise RunError(f"{combined.name} is being combined; cancel that, or wait until it ends")
        chosen = prompt.strip() or _own_prompt(run)
        number = random.randrange(2**31) if seed is None or seed < 0 else int(seed)
        kept = kept_weights(host)
        if run.result.name in kept:
            drawn = host.draw(TextToImage(chosen, seed=number))
            rule = f"{run.result.name} is always on here, at weight {kept[run.result.name]:g}"
            said = f"“{chosen}”, seed {number}. {rule}: no picture is drawn without it, or at another weight"
            shown.append(single_html(drawn, chosen, "always on", said + _drawn_by(host, run)))
            return
        without = host.draw(TextToImage(chosen, seed=number))
        with_it = host.draw(TextToImage(f"{chosen} <lora:{run.result.name}:{weight:g}>", seed=number))
        about = f"“{chosen}”, seed {number}, {run.result.name} at weight {weight:g}: {_changed(without, with_it)}"
        both = f". Always on, and so in both: {', '.join(kept)}" if kept else ""
        shown.append(pair_html(without, with_it, chosen, about + both + _drawn_by(host, run)))

    problems = problem_lines(work)
    return problems_html(problems) if problems else shown[0]


_RESTING = ("queued", "paused")


def _own_prompt(run: Snapshot) -> str:
    template = next(iter(run.config.get("templates", ())), "{}")
    return fill(str(template), str(next(iter(run.config.get("erase", ())), run.name)))


def selected(host: Host) -> Path | None:
    """Return the file of the checkpoint that the host draws with, None if there is none."""
    current = host.current_checkpoint()
    return None if current is None else current.path


def _drawn_by(host: Host, run: Snapshot) -> str:
    """Return a sentence if the pictures are another checkpoint's than the LoRA's; "" otherwise."""
    said = other_base(selected(host), run)
    return f". {said}" if said else ""


def _changed(one: Any, other: Any) -> str:
    from PIL import ImageChops, ImageStat

    if one.size != other.size:
        return "the pictures differ in size"
    levels = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    mean = sum(levels) / len(levels)
    return f"it changes the picture by {changed_by(mean)}"
