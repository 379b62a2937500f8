"""The panel: whose pictures are judged before and after an erasure. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from erasure.concepts.space import ConceptSpace
from erasure.concepts.unrelated import unrelated_words
from erasure.config.template import fill
from erasure.judge.takes import takes
from erasure.verdict.verdict import Role


@dataclass(frozen=True)
class PanelSizes:
    """How many words of each kind are judged, and in how many pictures each.

    ``names``: per target; ``near``: in all, at least ``near_each`` per target. ``empty``: pictures without any
    concept.
    """

    target_pictures: int = 8
    names: int = 4
    name_pictures: int = 3
    near: int = 20
    near_pictures: int = 2
    unrelated: int = 4
    unrelated_pictures: int = 2
    empty_pictures: int = 4
    near_each: int = 4


PANEL_SIZES = PanelSizes()
# Where only looks during training judge: what they take, and what makes the targets' scales.
LOOK_SIZES = PanelSizes(target_pictures=6, names=2, name_pictures=1, near=0, unrelated_pictures=1, empty_pictures=2)


@dataclass(frozen=True)
class Member:
    """A concept on the panel. ``target``: the index of the target that it belongs to, -1 if it belongs to none."""

    concept: str
    role: Role
    target: int
    pictures: int


@dataclass(frozen=True)
class Shot:
    """A picture to be judged: ``member`` is an index, -1 for a picture of the template without a concept.

    ``rest`` is the prompt without the concept.
    """

    member: int
    prompt: str
    rest: str
    template: str
    seed: int


def make_panel(
    space: ConceptSpace,
    names: Sequence[Sequence[str]],
    vocabulary: Sequence[str],
    preserve: Iterable[str] = (),
    sizes: PanelSizes = PANEL_SIZES,
) -> tuple[Member, ...]:
    """Choose the panel of a concept space. Each word is on it once.

    ``names``: of each target, its own first, those that are erased with it behind (see
    :meth:`ConceptSpace.erased_by_target`); ``vocabulary``: where unrelated words come from; ``preserve``: what the user
    protects, which counts as near and is always judged.
    """
    members: dict[str, Member] = {}

    def add(concept: str, role: Role, target: int, pictures: int) -> None:
        members.setdefault(concept, Member(concept, role, target, pictures))

    for i, own in enumerate(names):
        add(own[0], "target", i, sizes.target_pictures)
    for i, own in enumerate(names):
        for name in own[1 : 1 + sizes.names]:
            add(name, "name", i, sizes.name_pictures)
    gone = {name for own in names for name in own}
    for concept in preserve:
        add(concept, "near", 0, sizes.near_pictures)
    for i, target in enumerate(space.targets):
        words = [candidate.text for candidate in target.preserved if candidate.text not in gone]
        for word in words[: near_words(sizes, len(space.targets), len(words))]:
            add(word, "near", i, sizes.near_pictures)
    for word in unrelated_words(
        vocabulary, gone | space.near, [name for own in names for name in own], sizes.unrelated
    ):
        add(word, "unrelated", -1, sizes.unrelated_pictures)
    return tuple(members.values())


def near_words(sizes: PanelSizes, targets: int, neighbours: int) -> int:
    """Return how many words near each of the targets are judged, out of ``neighbours``."""
    return min(neighbours, max(sizes.near_each, sizes.near // targets)) if sizes.near else 0


def panel_shots(panel: Sequence[Member], templates: Sequence[str], sizes: PanelSizes = PANEL_SIZES) -> tuple[Shot, ...]:
    """List the pictures of all members in order, and those of no concept. The templates take turns.

    All members begin with the same seeds, so that they differ in nothing but the concept.
    """
    counts = [(i, member.concept, member.pictures) for i, member in enumerate(panel)]
    counts.append((-1, "", sizes.empty_pictures))
    shots = []
    for i, concept, count in counts:
        for template, seed in takes(templates, count):
            shots.append(Shot(i, fill(template, concept), fill(template, ""), template, seed))
    return tuple(shots)
