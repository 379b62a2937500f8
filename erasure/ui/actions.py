"""What the tab's controls do, without gradio: plain values in, HTML and plain values out."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.config.presets import Quality, quality_settings
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError, EraseError, JobNotFound, RunError
from erasure.host.base import Host, HostCheckpoint, TextToImage, same_title
from erasure.jobs.estimate import estimate
from erasure.jobs.job import ACTIVE, JobRequest, Snapshot
from erasure.jobs.manager import JobManager
from erasure.jobs.names import suggest_name, taken_names
from erasure.jobs.problems import describe
from erasure.jobs.readiness import readiness
from erasure.jobs.vocabularies import kept_vocabulary, vocabulary_folder
from erasure.ui.cards import estimate_html
from erasure.ui.form import read_form
from erasure.ui.html import notes_html, problems_html
from erasure.ui.page import Page
from erasure.ui.pictures import pair_html

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What the form holds. ``settings`` are the config's, quality applied; ``problems`` of what no config knows."""

    checkpoint: str  # title
    name: str
    settings: dict[str, Any]
    problems: tuple[str, ...] = ()


def read_order(
    host: Host, quality: Quality, checkpoint: str | None, name: str | None, held: Mapping[str, Any]
) -> Order:
    """``held``: what the control of every setting holds."""
    settings = read_form(held)
    problems: list[str] = []
    try:
        settings = quality_settings(quality, settings)
    except ConfigError as error:
        problems += error.problems
    if settings["vocabulary_file"]:
        folder = vocabulary_folder(host.data_folder())
        try:
            settings["vocabulary_file"] = str(kept_vocabulary(folder, settings["vocabulary_file"]))
        except ConfigError as error:
            problems += error.problems
    return Order(checkpoint or "", (name or "").strip(), settings, tuple(problems))


def find_checkpoint(host: Host, title: str) -> HostCheckpoint | None:
    """By its title, with or without the hash."""
    offered = host.checkpoints()
    exact = [checkpoint for checkpoint in offered if checkpoint.title == title]
    same = [checkpoint for checkpoint in offered if same_title(checkpoint.title, title)]
    return next(iter([*exact, *same]), None)


def problem_lines(work: Callable[[], Any]) -> list[str]:
    """Do it; every problem in a line of its own, none if it went well."""
    try:
        work()
    except ConfigError as error:
        return list(error.problems)
    except EraseError as error:
        return str(error).splitlines()
    except Exception as error:
        logger.exception("unexpected, in the tab")
        return [describe(error)]
    return []


def check_order(host: Host, order: Order) -> tuple[str, bool]:
    """What stands beside the start button, and whether it may be pressed."""
    checkpoint = find_checkpoint(host, order.checkpoint) if order.checkpoint else None
    shown: list[str] = []

    def work() -> None:
        if order.checkpoint and checkpoint is None:
            raise RunError(f"the checkpoint {order.checkpoint!r} is not there any more; choose another")
        if order.problems:
            raise ConfigError(order.problems)
        problems = readiness(host, checkpoint.path if checkpoint else None, order.name, order.settings)
        if problems:
            raise ConfigError(problems)
        assert checkpoint is not None
        config = config_from_dict(order.settings)
        shown.append(estimate_html(estimate(config, checkpoint.path, host.device(), host.data_folder() / "runs")))

    if not order.settings.get("erase"):
        return notes_html(["Name a concept to erase."]), False
    problems = problem_lines(work)
    return (estimate_html(None, problems), False) if problems else (shown[0], True)


def suggested_name(host: Host, erase: Sequence[str], jobs: Sequence[Snapshot]) -> str:
    """A name that no LoRA and no job on its way has; "" as long as there is nothing to erase."""
    if not erase:
        return ""
    taken = {*taken_names(host.lora_folder()), *(job.name.casefold() for job in jobs if job.state in ACTIVE)}
    return suggest_name(erase, taken)


def start(host: Host, manager: JobManager, order: Order) -> str:
    """Queue a job; what came of it as HTML."""

    def work() -> None:
        checkpoint = find_checkpoint(host, order.checkpoint)
        if checkpoint is None:
            raise RunError(f"the checkpoint {order.checkpoint!r} is not there any more; choose another")
        config = _config(order)
        host.lora_folder().mkdir(parents=True, exist_ok=True)
        manager.submit(JobRequest(checkpoint.path, order.name, config))

    problems = problem_lines(work)
    if problems:
        return problems_html(problems, "It did not start")
    waiting = sum(job.state in ACTIVE for job in manager.snapshots()) > 1
    return notes_html([f"{order.name} waits for its turn." if waiting else f"{order.name} has begun."])


def _config(order: Order) -> EraseConfig:
    if order.problems:
        raise ConfigError(order.problems)
    return config_from_dict(order.settings)


def act(manager: JobManager, page: Page) -> str:
    """Do with a run what one of its buttons says; problems as HTML, "" if it went well."""
    if page.action not in ("pause", "resume", "stop", "discard", "delete"):
        return problems_html([f"there is nothing called {page.action!r} to be done; reload the page"])
    return problems_html(problem_lines(lambda: getattr(manager, page.action)(page.value)))


def measure(host: Host, manager: JobManager, order: Order) -> tuple[dict[str, Any] | None, str]:
    """The concept space as plain values, and problems as HTML."""
    found: list[dict[str, Any]] = []

    def work() -> None:
        checkpoint = find_checkpoint(host, order.checkpoint)
        if checkpoint is None:
            raise RunError("choose a checkpoint first")
        found.append(manager.concepts(checkpoint.path, _config(order)))

    problems = problem_lines(work)
    return (found[0] if found else None), problems_html(problems, "Nothing was measured" if problems else "")


def try_it(host: Host, manager: JobManager, run: Snapshot | None, prompt: str, seed: int | None, weight: float) -> str:
    """Draw one prompt with one seed, without and with the run's LoRA, in the host."""
    shown: list[str] = []

    def work() -> None:
        if run is None or run.result is None:
            raise JobNotFound("there is no LoRA to try yet")
        busy = next((job for job in manager.snapshots() if job.state in ACTIVE and job.state not in _RESTING), None)
        if busy is not None:
            raise RunError(f"{busy.name} has the device; pause it, or wait until it is done")
        chosen = prompt.strip() or _own_prompt(run)
        number = random.randrange(2**31) if seed is None or seed < 0 else int(seed)
        without = host.draw(TextToImage(chosen, seed=number))
        with_it = host.draw(TextToImage(f"{chosen} <lora:{run.result.name}:{weight:g}>", seed=number))
        about = f"“{chosen}”, seed {number}, {run.result.name} at weight {weight:g}: {_changed(without, with_it)}"
        shown.append(pair_html(without, with_it, chosen, about))

    problems = problem_lines(work)
    return problems_html(problems) if problems else shown[0]


_RESTING = ("queued", "paused")


def _own_prompt(run: Snapshot) -> str:
    template = next(iter(run.config.get("templates", ())), "{}")
    return fill(str(template), str(next(iter(run.config.get("erase", ())), run.name)))


def _changed(one: Any, other: Any) -> str:
    from PIL import ImageChops, ImageStat

    if one.size != other.size:
        return "the pictures differ in size"
    levels = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    mean = sum(levels) / len(levels)
    return f"it changes the picture by {mean / 255:.0%} ({mean:.0f} of 255 levels on average)"


def user_presets(host: Host) -> Path:
    """Where the user's presets are kept."""
    return host.data_folder() / "presets"
