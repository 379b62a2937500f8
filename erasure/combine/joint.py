"""The settings of several LoRA files taken together. Needs no torch.

What is erased, turned into, called so and preserved is joined; where another setting differs, the first file decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erasure.concepts.naming import names_target
from erasure.config.checks import LONGEST_TEXT
from erasure.config.concept_texts import LISTS, as_written, folded, read_lists
from erasure.config.settings import EraseConfig, plain, settings
from erasure.config.settle import asked_for
from erasure.config.values import settle_values
from erasure.errors import ConfigError, shown
from erasure.lora.metadata import ASKED_KEY, CONFIG_KEY, NAMES_KEY, json_object

# What a training had that says nothing of how one from all of them should be, and what the sum itself decides.
_OWN = ("steps", "steps_per_concept", "learning_rate", "rank", "alpha", "layers", "start", "save_precision",
        "vocabulary_file")  # fmt: skip
_METHOD = "adversarial"
# Of a file that another method made, only these say something of a training with this one.
_OF_ANY_METHOD = ("templates", "vocabulary", "resolution")
_MOST_NAMES = 100  # that went along with a target
_LISTED = 10  # of a kind of note


@dataclass(frozen=True)
class Stated:
    """What one LoRA file says of itself. ``weight``: that it is combined at."""

    name: str
    metadata: Mapping[str, str]
    weight: float = 1.0


@dataclass(frozen=True)
class Joint:
    """``config``: the joint settings, settled, None if there are none; ``problem`` then says why.

    ``erases``: all concepts that are erased; ``each``: those of every file, in their order. ``along``: by concept,
    other names that the files say went with it, () if they say that there are none; a concept is missing if they say
    nothing. ``silent``: names of files that do not say what they erase. ``notes``: how the files differ and contradict
    each other, one line each.
    """

    config: EraseConfig | None
    erases: tuple[str, ...]
    each: tuple[tuple[str, ...], ...]
    along: Mapping[str, tuple[str, ...]]
    silent: tuple[str, ...]
    notes: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class _Own:
    """The settings of one file: concepts as used, all others as asked for."""

    name: str
    anchors: Mapping[str, str]  # by target
    along: Mapping[str, tuple[str, ...]]  # by target, other names that went with it
    synonym: tuple[str, ...]
    preserve: tuple[str, ...]
    asked: Mapping[str, Any]


def joint_config(
    files: Sequence[Stated],
    erase: Sequence[str] = (),
    preserve: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
) -> Joint:
    """Return the settings of all files together.

    ``erase`` and ``preserve``: concepts to add, as people write them; ``given``: other settings in place of the files'.
    A file at a negative weight brings its concepts out, so that what it says does not count. Raises: ConfigError for
    concepts and settings that cannot be used.
    """
    given = given or {}
    added = read_lists({"erase": list(erase), "preserve": list(preserve)})
    problems = [*added.problems, *settle_values({"erase": ["any"], **given}).problems]
    if problems:
        raise ConfigError(problems)
    every, notes = _told(files)
    told, silent = [own for own in every if isinstance(own, _Own)], [own for own in every if isinstance(own, str)]
    notes += added.notes
    anchors, synonym = _erased(told, added.values["erase"], notes)
    along = _along(told, anchors)
    kept = _preserved(told, added.values["preserve"], [*anchors, *synonym], along, notes)
    each = tuple(_own_targets(own, anchors, added.values["erase"] if len(silent) == 1 else ()) for own in every)
    if not anchors:
        return Joint(None, (), each, along, tuple(silent), tuple(notes), "no file says what it erases")
    concepts = {"erase": list(anchors), "anchor": _anchor_list(anchors), "synonym": synonym, "preserve": kept}
    asked = {**_agreed(told, notes), **as_written(concepts), **given}
    settled = settle_values(asked)
    return Joint(settled.config, tuple(anchors), each, along, tuple(silent), tuple(notes), "; ".join(settled.problems))


def _told(files: Sequence[Stated]) -> tuple[list[_Own | str | None], list[str]]:
    """Return what can be used of what each file says, and notes.

    Of a file that says nothing, its name; None for one that erases nothing, whatever it says.
    """
    told: list[_Own | str | None] = []
    notes: list[str] = []
    for file in files:
        said = json_object(file.metadata, CONFIG_KEY)
        if file.weight < 0:
            concepts = ", ".join(map(repr, map(str, (said or {}).get("erase") or ["its concepts"])))
            notes.append(f"{file.name} has a negative weight: it brings {shown(concepts)[1:-1]} out")
            told.append(None)
            continue
        if not said or not said.get("erase"):
            told.append(file.name)
            continue
        own, problem = _own(file, said)
        told.append(own or file.name)
        if own is None:
            notes.append(f"what {file.name} says of itself cannot be used: {problem}")
    return told, notes


def _own(file: Stated, said: Mapping[str, Any]) -> tuple[_Own | None, str]:
    asked = json_object(file.metadata, ASKED_KEY)
    try:
        # Older versions do not say what was asked for: then what it must have been at least.
        asked = asked_for(said) if asked is None else asked
    except (TypeError, ValueError, OverflowError) as error:
        return None, str(error)
    known = settings()
    used = as_written({name: said[name] for name in LISTS if name in said})
    others = {name: value for name, value in asked.items() if name in known and name not in (*LISTS, *_OWN)}
    if others.get("vocabulary") == "file":  # which is on its maker's machine
        del others["vocabulary"]
    settled = settle_values({**others, **used})
    if settled.config is None:
        return None, "; ".join(settled.problems)
    config = settled.config
    names = others if config.method == _METHOD else [name for name in others if name in _OF_ANY_METHOD]
    given = dict(zip(config.erase, config.anchors, strict=True))
    chosen = plain({name: settled.values[name] for name in names})
    return _Own(file.name, given, _names(file, given), config.synonym, config.preserve, chosen), ""


def _names(file: Stated, targets: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the other names that a file says it erased along with each target; anyone can edit a file."""
    said = json_object(file.metadata, NAMES_KEY) or {}
    listed = {target: said.get(target) for target in targets}
    return {
        target: tuple(name for name in names[:_MOST_NAMES] if isinstance(name, str) and len(name) <= LONGEST_TEXT)
        for target, names in listed.items()
        if isinstance(names, list)
    }


def _erased(told: Sequence[_Own], added: Sequence[str], notes: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return what each target turns into, and all other names of targets."""
    anchors: dict[str, str] = {}
    first: dict[str, str] = {}  # the text of a target by its folded form
    for own in told:
        for target, anchor in own.anchors.items():
            same = first.setdefault(folded(target), target)
            before = anchors.setdefault(same, anchor)
            if folded(before) != folded(anchor):
                notes.append(
                    f"{own.name} turns {target!r} into {anchor or 'nothing'!r}, another file into "
                    f"{before or 'nothing'!r}; that of the first is taken"
                )
    for target in added:
        anchors.setdefault(first.setdefault(folded(target), target), "")
    synonym = _united(text for own in told for text in own.synonym if folded(text) not in first)
    gone = [*anchors, *synonym]
    for target, anchor in anchors.items():
        clash = next((text for text in gone if anchor and names_target(anchor, text)), None)
        if clash is not None:
            notes.append(f"{target!r} was turned into {anchor!r}, which is erased as well: it is turned into nothing")
            anchors[target] = ""
    return anchors, synonym


def _along(told: Sequence[_Own], anchors: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return by joint target the names that went with it."""
    found: dict[str, list[str]] = {}
    for own in told:
        for target, names in own.along.items():
            found.setdefault(_joint_target(target, anchors), []).extend(names)
    return {target: tuple(_united(names)) for target, names in found.items()}


def _own_targets(own: _Own | str | None, anchors: Mapping[str, str], named: Sequence[str]) -> tuple[str, ...]:
    """Return the joint targets that one file erases. ``named``: those of the only one that does not say it."""
    targets = named if isinstance(own, str) else () if own is None else own.anchors
    return tuple(_joint_target(target, anchors) for target in targets)


def _joint_target(target: str, anchors: Iterable[str]) -> str:
    return next(joint for joint in anchors if folded(joint) == folded(target))


def _preserved(
    told: Sequence[_Own],
    added: Sequence[str],
    gone: Sequence[str],
    along: Mapping[str, Sequence[str]],
    notes: list[str],
) -> list[str]:
    wanted = [(own.name, text) for own in told for text in own.preserve] + [("the order", text) for text in added]
    kept = []
    for who, text in wanted:
        clash = next((target for target in gone if names_target(text, target)), None)
        if clash is None:
            kept.append(text)
            with_it = next((target for target, names in along.items() if folded(text) in map(folded, names)), None)
            if with_it is not None:
                notes.append(f"{who} preserves {text!r}, which went along with {with_it!r} in another file")
            continue
        what = "is erased" if folded(clash) == folded(text) else f"names {clash!r}, which is erased"
        notes.append(f"{who} preserves {text!r}, which {what}: it is not preserved")
    return _united(kept)


def _anchor_list(anchors: Mapping[str, str]) -> list[str]:
    """Return the setting that gives every target its anchor."""
    every = list(anchors.values())
    return (every[:1] if every[0] else []) if len(set(every)) == 1 else every


def _agreed(told: Sequence[_Own], notes: list[str]) -> dict[str, Any]:
    """Return the other settings that were asked for: of the first file where they differ."""
    agreed: dict[str, Any] = {"method": _METHOD}
    defaults = plain({name: about.default for name, about in settings().items()})
    names = list(dict.fromkeys(name for own in told for name in own.asked if name != "method"))
    differ = []
    for name in names:
        values = [own.asked.get(name, defaults[name]) for own in told]
        if any(value != values[0] for value in values):
            differ.append(f"{name} ({', '.join(_distinct(values))})")
        if name in told[0].asked:
            agreed[name] = values[0]
    if differ:
        more = f" and {len(differ) - _LISTED} more" if len(differ) > _LISTED else ""
        notes.append(f"the files differ in {', '.join(differ[:_LISTED])}{more}; {told[0].name} decides")
    return agreed


def _distinct(values: Sequence[Any]) -> Iterator[str]:
    return iter(dict.fromkeys(map(shown, values)))


def _united(texts: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(folded(text), text)
    return list(found.values())
