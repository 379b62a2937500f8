"""How an order is read, here and nowhere else: a checkpoint, a LoRA's name and a config, or all that is wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erasure.config.presets import QUALITIES, Preset, kind_settings, preset
from erasure.config.settle import Settled
from erasure.config.values import settle_values
from erasure.errors import ConfigError, shown
from erasure.host.base import Host, HostCheckpoint, bare_title, same_title
from erasure.host.data_folder import DataFolder
from erasure.jobs.job import ACTIVE, JobRequest, Snapshot
from erasure.jobs.names import suggest_name, taken_names
from erasure.jobs.readiness import NO_CHECKPOINT, readiness
from erasure.jobs.vocabularies import kept_vocabulary

_LISTED = 20  # checkpoints, where the one that was asked for is not among them


@dataclass(frozen=True)
class Wanted:
    """An order as it was given.

    ``checkpoint``: by title or file name, None for the one that is loaded. ``name`` of the LoRA: None for a suggested
    one. ``settings`` override those of the preset at the quality; a vocabulary file is given by its bare name.
    """

    checkpoint: str | None = None
    name: str | None = None
    preset: str | None = None
    quality: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """An order that was read. ``problems`` are those of the order alone; :func:`start_problems` finds all."""

    checkpoint: Path | None
    name: str
    asked: Mapping[str, Any]
    settled: Settled
    problems: tuple[str, ...]

    def request(self) -> JobRequest:
        """Return what the job manager needs. Raises: ConfigError with every problem of the order."""
        if self.problems or self.checkpoint is None or self.settled.config is None:
            raise ConfigError(self.problems)
        return JobRequest(self.checkpoint, self.name, self.settled.config)


def read_order(host: Host, wanted: Wanted, coming: Collection[str] = ()) -> Order:
    """Read an order; what is wrong with it is in its ``problems``. ``coming``: names of LoRAs that jobs will make."""
    asked, problems = asked_settings(host, wanted)
    checkpoint, missing = find_checkpoint(host, wanted.checkpoint)
    settled = settle_values(asked)
    name = wanted.name
    if name is None:
        # Without a concept the order is wrong anyway; a missing name need not be one problem more.
        name = suggested_name(host, settled.values["erase"], coming) or suggest_name(())
    return Order(
        None if checkpoint is None else checkpoint.path,
        name,
        asked,
        settled,
        (*problems, *missing, *settled.problems),
    )


def asked_settings(host: Host, wanted: Wanted) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the preset at the quality, overridden by those that are given, and what is wrong."""
    problems: list[str] = []
    data = DataFolder(host.data_folder())
    kind, known = Preset("", "", {}), True
    if wanted.preset is not None:
        try:
            kind = preset(wanted.preset, data.presets)
        except ConfigError as error:
            problems += error.problems
            known = False
    asked = dict(kind.settings)
    if wanted.quality is not None and (known or wanted.quality not in QUALITIES):
        method = wanted.settings.get("method")
        try:
            asked = kind_settings(kind, wanted.quality, method if isinstance(method, str) else None)
        except ConfigError as error:
            problems += error.problems
    asked |= wanted.settings
    file = asked.get("vocabulary_file")
    if isinstance(file, str) and file:
        try:
            asked["vocabulary_file"] = str(kept_vocabulary(data.vocabularies, file))
        except ConfigError as error:
            problems += error.problems
            # Both go, so that one mistake is reported once.
            asked = {key: value for key, value in asked.items() if key not in ("vocabulary", "vocabulary_file")}
    return asked, problems


def start_problems(host: Host, order: Order) -> list[str]:
    """Return every reason why this order cannot start: its own problems, and those of name, folders and disk."""
    others = readiness(host, order.checkpoint, order.name, order.settled.config)
    if order.checkpoint is None:
        others = [problem for problem in others if problem != NO_CHECKPOINT]  # the order says more precisely why
    return list(dict.fromkeys([*order.problems, *others]))


def find_checkpoint(host: Host, wanted: str | None) -> tuple[HostCheckpoint | None, list[str]]:
    """Find a checkpoint by its title, with or without its hash, or by its file name, with or without its ending.

    A path never finds one. ``wanted`` None: the one that is loaded. The second value says why none was found.
    """
    if wanted is None:
        current = host.current_checkpoint()
        return current, [] if current is not None else [NO_CHECKPOINT]
    every = host.checkpoints()
    titled = [one for one in every if one.title == wanted] or [one for one in every if same_title(one.title, wanted)]
    name = bare_title(wanted)
    # If a hash is given, a file with another hash must not be found.
    open_to = [one for one in every if wanted == name or bare_title(one.title) == one.title]
    named = titled or [one for one in open_to if name in (one.path.name, one.path.stem)]
    if len(named) == 1:
        return named[0], []
    if named:
        titles = ", ".join(repr(one.title) for one in named)
        return None, [f"several checkpoints are called {shown(wanted)}; choose by title: {titles}"]
    there = ", ".join(repr(one.title) for one in every[:_LISTED]) or "none"
    return None, [f"there is no checkpoint {shown(wanted)}; there are {there}"]


def suggested_name(host: Host, erase: Sequence[str], coming: Collection[str]) -> str:
    """Suggest a name that no LoRA has, nor will have; "" as long as there is nothing to erase."""
    if not erase:
        return ""
    return suggest_name(erase, {*taken_names(host.lora_folder()), *(name.casefold() for name in coming)})


def coming_names(jobs: Sequence[Snapshot]) -> list[str]:
    """Return the names of the LoRAs that these jobs will make."""
    return [job.makes for job in jobs if job.state in ACTIVE]
