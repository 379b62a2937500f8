"""What a host's list of LoRAs that are always on means now: which are in force, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from erasure.errors import CheckpointError, ConfigError, UnsupportedCheckpoint
from erasure.host.always_on import Rule, with_rule
from erasure.host.base import Host, same_title
from erasure.host.lora_prompt import loras_called


@dataclass(frozen=True)
class Kept:
    """A rule, whether it is for the checkpoint that is chosen now, and what is wrong with it, "" if nothing is."""

    rule: Rule
    in_force: bool
    problem: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; a checkpoint of null is all of them."""
        rule = self.rule
        return {
            "lora": rule.lora,
            "weight": rule.weight,
            "checkpoint": rule.checkpoint or None,
            "in_force": self.in_force,
            "problem": self.problem,
        }


def in_force(rules: Iterable[Rule], titles: Collection[str]) -> tuple[Rule, ...]:
    """Return the rules for pictures that are drawn with these checkpoints, one for each LoRA: one for a checkpoint
    comes before one for all, and a later one before an earlier."""
    found: dict[str, Rule] = {}
    for rule in sorted(rules, key=lambda rule: bool(rule.checkpoint)):  # stable: order decides among equals
        if not rule.checkpoint or any(same_title(rule.checkpoint, title) for title in titles):
            found[rule.lora] = rule
    return tuple(found.values())


def kept_on(host: Host) -> list[Kept]:
    """Return every rule of the host, in its order."""
    current, rules = host.current_checkpoint(), host.always_on().rules
    now = in_force(rules, () if current is None else (current.title,))
    found = []
    for rule in rules:
        holds = rule in now
        checkpoint = current.path if current is not None and holds else None
        problem = _unknown_checkpoint(host, rule) or file_problem(host.lora_folder(), rule, checkpoint)
        found.append(Kept(rule, holds, problem))
    return found


def turn_on(host: Host, rule: Rule) -> None:
    """Keep a LoRA on from now. Raises: ConfigError if it cannot work; RunError if the list is fixed."""
    refuse_broken(host, [rule])
    host.set_always_on(with_rule(host.always_on().rules, rule))


def refuse_broken(host: Host, rules: Sequence[Rule]) -> None:
    """Raises: ConfigError with one line for each rule whose LoRA or checkpoint is not there or cannot be used."""
    current = host.current_checkpoint()
    problems = []
    for rule in rules:
        fits = current is not None and (not rule.checkpoint or same_title(rule.checkpoint, current.title))
        checkpoint = current.path if current is not None and fits else None
        problems.append(_unknown_checkpoint(host, rule) or file_problem(host.lora_folder(), rule, checkpoint))
    if any(problems):
        raise ConfigError([problem for problem in problems if problem])


def file_problem(folder: Path, rule: Rule, checkpoint: Path | None) -> str:
    """Return why the LoRA of a rule cannot be kept on, "" if it can. ``checkpoint``: what it has to fit."""
    files = loras_called(folder, rule.lora)
    if len(files) > 1:  # a host may find either
        places = ", ".join(file.relative_to(folder).as_posix() for file in files)
        return f"several files of the Lora folder are called {rule.lora} ({places}); rename all but one"
    return lora_problem(files[0], checkpoint) if files else f"there is no LoRA {rule.lora} in the Lora folder"


def lora_problem(file: Path, checkpoint: Path | None) -> str:
    """Return why a file cannot be kept on with a checkpoint, "" if nothing speaks against it. Reads headers alone."""
    from erasure.families.family import Family
    from erasure.lora.kind import tell_lora
    from erasure.safetensors_file import DamagedFile, read_header

    try:
        header = read_header(file)
    except (DamagedFile, OSError):
        return f"{file.name} cannot be read; put the file there again"
    kind = tell_lora(header.shapes, header.metadata)
    if isinstance(kind, str) and "no LoRA" in kind:
        return f"{file.name} is {kind}"
    if checkpoint is None:
        return ""
    made_for = kind.name if isinstance(kind, Family) else kind.removeprefix("a LoRA for ")
    misfit = f"{file.name} is made for {made_for}, and {checkpoint.name} is another kind of model"
    family = _family(checkpoint)
    if isinstance(kind, Family):
        return misfit if family is None or (family != "" and family != kind.name) else ""
    return misfit if family and kind.startswith("a LoRA for ") else ""


def _family(checkpoint: Path) -> str | None:
    """Return the name of a checkpoint's family, None for a kind that we do not know, "" if the file tells nothing."""
    try:
        state = checkpoint.stat()
    except OSError:
        return ""
    return _family_told(checkpoint, (state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=16)  # it is asked before every picture; the stamp makes a changed file be read again
def _family_told(checkpoint: Path, stamp: tuple[int, int]) -> str | None:
    from erasure.families.family import Family
    from erasure.families.known import FAMILIES
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.model.kinds import tell_family
    from erasure.model.weights_file import open_weights

    try:
        if checkpoint.is_dir():
            return inspect_checkpoint(checkpoint).family.name
        told = tell_family(open_weights(checkpoint), FAMILIES)
    except UnsupportedCheckpoint:
        return None
    except (CheckpointError, OSError):
        return ""
    return told.name if isinstance(told, Family) else None


def _unknown_checkpoint(host: Host, rule: Rule) -> str:
    if not rule.checkpoint or any(same_title(rule.checkpoint, one.title) for one in host.checkpoints()):
        return ""
    return f"{rule.lora} is kept on for {rule.checkpoint}, but there is no such checkpoint here"
