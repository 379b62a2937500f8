"""The list of LoRAs that a host keeps on in every picture: a house rule for prompts, no lock against its files.

A rule is written ``NAME[:WEIGHT][ @ CHECKPOINT]``, one in a line: ``church``, ``church:0.8``,
``church:0.8 @ sd-v1-4.safetensors``. Imports nothing heavy: a web UI's command line is read with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from erasure.errors import ConfigError, shown

FLAG = "--adversarial-erase-always"
FLAG_HELP = (
    "keep this LoRA on in every picture, whatever its prompt says; repeat for several. The list cannot be changed in "
    'the page then. "NAME:WEIGHT @ CHECKPOINT" keeps it on for one checkpoint only'
)
HOUSE_RULE = (
    "A house rule: no prompt, and no request to the API, turns such a LoRA off. It is no lock against whoever can edit "
    "settings, files or extensions here."
)
_MOST = 50  # rules
_LONGEST = 300  # characters of a name
_LARGEST = 10.0  # weight, either way
_CHECKPOINT = re.compile(r"\s@\s+")
# What a tag in a prompt cannot name, and what would break the line.
_NO_NAME = re.compile(r"[:<>\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Rule:
    """One LoRA that is kept on. ``lora``: its name in a prompt, the file's without ending and folder. ``checkpoint``:
    the title of the only one that it is for, "" for all."""

    lora: str
    weight: float = 1.0
    checkpoint: str = ""

    def __str__(self) -> str:
        only = f" @ {self.checkpoint}" if self.checkpoint else ""
        return f"{self.lora}:{self.weight:g}{only}"


@dataclass(frozen=True)
class AlwaysOn:
    """A host's list. ``fixed``: why it cannot be changed here, "" if it can. ``problems``: lines that make no sense."""

    rules: tuple[Rule, ...] = ()
    fixed: str = ""
    problems: tuple[str, ...] = ()


def make_rule(lora: Any, weight: Any = None, checkpoint: Any = None) -> Rule:
    """Return a rule of values from outside; None stands for weight 1 and for all checkpoints. Raises: ConfigError."""
    name = str(lora).strip().replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors") if lora else ""
    problems = []
    if not isinstance(lora, str) or not name or len(name) > _LONGEST or _NO_NAME.search(name):
        problems.append(f"{shown(lora)} is not the name of a LoRA; write NAME or NAME:WEIGHT")
    elif _CHECKPOINT.search(name):
        problems.append(f"{shown(lora)} would be read as NAME @ CHECKPOINT; rename the file to keep it on")
    number = 1.0 if weight is None else weight
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not _usable(number):
        problems.append(f"the weight must be a number up to {_LARGEST:g} that is not 0, not {shown(weight)}")
    only = "" if checkpoint is None else checkpoint
    if not isinstance(only, str) or len(only) > _LONGEST or not (only == "" or only.isprintable()):
        problems.append(f"{shown(checkpoint)} is not the title of a checkpoint")
    if problems:
        raise ConfigError(problems)
    return Rule(name, float(number), only.strip())


def read_rule(text: str) -> Rule:
    """Return the rule that a line holds. Raises: ConfigError."""
    named, *only = _CHECKPOINT.split(text.strip(), maxsplit=1)
    name, colon, weight = named.rpartition(":")
    if not colon:
        return make_rule(named, None, *only)
    try:
        number = float(weight)
    except ValueError:
        raise ConfigError([f"{shown(weight.strip())} in {shown(text.strip())} is not a weight; write NAME:1"]) from None
    return make_rule(name, number, *only)


def read_each(lines: Iterable[str]) -> AlwaysOn:
    """Return the rules of some lines; one that makes no sense is a problem, and the others hold."""
    rules: list[Rule] = []
    problems: list[str] = []
    for line in lines:
        try:
            rules.append(read_rule(line))
        except ConfigError as error:
            problems += error.problems
    return AlwaysOn(tuple(rules), "", tuple(problems))


def read_rules(text: Any) -> AlwaysOn:
    """Return :func:`read_each` of a text with one rule in a line. Empty lines and those past the most do not count."""
    lines = [line for line in str(text or "").splitlines() if line.strip()]
    listed = read_each(lines[:_MOST])
    if len(lines) <= _MOST:
        return listed
    more = f"at most {_MOST} LoRAs can be kept on; {len(lines) - _MOST} are left out"
    return AlwaysOn(listed.rules, "", (*listed.problems, more))


def rules_text(rules: Iterable[Rule]) -> str:
    """Return what :func:`read_rules` reads."""
    return "\n".join(map(str, rules))


def with_rule(rules: Sequence[Rule], rule: Rule) -> tuple[Rule, ...]:
    """Return the rules with this one, in place of one for the same LoRA and checkpoint. Raises: ConfigError."""
    kept = (*without_rule(rules, rule.lora, rule.checkpoint), rule)
    if len(kept) > _MOST:
        raise ConfigError([f"at most {_MOST} LoRAs can be kept on; turn one off first"])
    return kept


def without_rule(rules: Sequence[Rule], lora: str, checkpoint: str) -> tuple[Rule, ...]:
    """Return the rules without the one for this LoRA and this checkpoint."""
    return tuple(rule for rule in rules if (rule.lora, rule.checkpoint) != (lora, checkpoint))


def _usable(weight: float) -> bool:
    return 0 < abs(weight) <= _LARGEST  # not a number that is none, and not infinity
