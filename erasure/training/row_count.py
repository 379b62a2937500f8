"""U-Net rows of a training before it starts, without torch: plays the draws of a run and counts what they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random

from erasure.config.methods import METHODS
from erasure.config.settings import EraseConfig
from erasure.config.template import fill
from erasure.model.rows import Rows
from erasure.training.defence.sizes import EMBEDDING_STEPS, NEAREST, is_hostile
from erasure.training.pace_updates import MEASURED
from erasure.training.rehearsal_sizes import WORDS, WORDS_PER_TARGET

_UPDATES = 200  # played


@dataclass
class _Run:
    """A trajectory that is used several times: steps taken so far."""

    steps: int = 0
    uses: int = 0


@dataclass
class _Source:
    """Counts the rows of :mod:`erasure.training.latents.replay` and :mod:`erasure.training.latents.noised_latents`."""

    config: EraseConfig
    random: Random
    rows: Rows = field(default_factory=Rows)
    known: dict[tuple[str, bool], _Run] = field(default_factory=dict)
    rehearsed: dict[int, _Run] = field(default_factory=dict)

    def draw(self, texts: Sequence[str], tuned: bool, early: bool = False) -> tuple[bool, bool]:
        """Whether the frozen model's predictions come along: with the prompt, and without one."""
        config, row = self.config, 1 if self.config.sampling_guidance == 1 else 2
        if config.latents == "noise":
            return False, False
        if config.latents == "fresh":
            steps = [self.random.randrange(config.sampling_steps) for _ in texts]
            self.rows += Rows(row * sum(steps), calls=max(steps, default=0))
            return False, False
        pictures = config.latents == "pictures"
        moved: dict[int, int] = {}
        for text in texts:
            run = self._run(text, tuned and not pictures)
            goal = self.random.randrange(config.early_steps if early else config.sampling_steps) + (not tuned)
            missing = max(0, (config.sampling_steps if pictures else goal) - run.steps)
            run.steps += missing
            moved[id(run)] = moved.get(id(run), 0) + missing
        self.rows += Rows(row * sum(moved.values()), calls=max(moved.values(), default=0))  # all move together
        return pictures or not tuned, not pictures and not tuned and row == 2

    def rehearse(self, update: int) -> None:
        """Draw what :mod:`erasure.training.rehearsal` does; its trajectories are its own and always extended."""
        config = self.config
        words = WORDS + WORDS_PER_TARGET * len(config.erase)
        row, moved = 1 if config.sampling_guidance == 1 else 2, []
        for k in range(update * config.rehearsed, (update + 1) * config.rehearsed):
            run = self.rehearsed.setdefault(k % words, _Run())
            missing = max(0, self.random.randrange(config.early_steps) + 1 - run.steps)
            run.steps += missing
            moved.append(missing)
        self.rows += Rows(row * sum(moved), calls=max(moved, default=0))

    def _run(self, text: str, tuned: bool) -> _Run:
        run = self.known.get((text, tuned))
        if run is None or run.uses >= (self.config.reuse or self.config.sampling_steps):
            run = self.known[text, tuned] = _Run()
        run.uses += 1
        return run


@lru_cache(maxsize=64)
def rows_per_update(config: EraseConfig, sizes: tuple[int, ...] = ()) -> Rows:
    """On average. ``sizes``: K per target, where they are known; every neighbour is picked as often as any other."""
    if METHODS[config.method].closed_form:
        return Rows()
    updates = min(config.updates, _UPDATES)
    plays = -(-_UPDATES // updates)
    rows = Rows()
    for play in range(plays):
        source = _Source(config, Random(config.seed + play))
        rows = sum((_update(config, sizes, source, update) for update in range(updates)), rows) + source.rows
    return rows * (1 / (updates * plays))


def _update(config: EraseConfig, sizes: Sequence[int], source: _Source, update: int) -> Rows:
    """Rows of one update, besides those that the source counts itself."""
    targets = [(update * config.batch + i) % len(config.erase) for i in range(config.batch)]
    template = source.random.choice(config.templates)
    erased, anchors = ([fill(template, texts[i]) for i in targets] for texts in (config.erase, config.anchors))
    rows = _search(config, sizes, source, targets, template)
    preserved = _picks(config, sizes, targets, template, source.random)
    if config.preserve or config.adversary == "fixed":
        preserved.append(fill(template, source.random.choice(config.preserve)) if config.preserve else "")
    if not METHODS[config.method].compares:
        source.draw(erased, config.on_policy)
        return Rows(len(targets), len(targets), 1)
    eps, null = source.draw(anchors if config.latents == "pictures" else erased, config.on_policy)
    if config.method == "adv-unlearn":  # asks for the concepts' own predictions, and then attacks
        steps, targeted = config.search_steps, len(targets)
        rows += Rows(targeted * steps, targeted * steps, steps) + (Rows() if eps else Rows(targeted, calls=1))
        eps = True
    if config.robust != "off" and is_hostile(update):
        rows += _defence(config, sizes, targets, known=eps)
        eps = config.robust == "embeddings"  # whose goals are the concepts' own
        if config.robust == "words":  # at most, where what is found is made of words that stay
            preserved = preserved + _picks(
                replace(config, adversary="uniform"), sizes, targets, template, source.random
            )
    kept, _ = source.draw(preserved, config.preserve_on_policy or config.latents == "fresh", early=True)
    source.rehearse(update)
    goals = sum(not null or anchor != "" for anchor in anchors)
    if config.guidance and config.guidance_from == "null" and any(anchors) and not null:
        goals += len(targets)
    measured = bool(config.pace) and update + 1 in MEASURED
    if (config.guidance or measured) and not eps:
        goals += len(targets)
    if measured and config.start != "zero":
        rows += Rows(len(targets), calls=1)
    if not kept or config.adversary == "pgd":
        goals += len(preserved)
    trained = len(targets) + len(preserved) + config.rehearsed
    return rows + Rows(goals, calls=min(goals, 1)) + Rows(trained, trained, 1)


def _search(config: EraseConfig, sizes: Sequence[int], source: _Source, targets: Sequence[int], template: str) -> Rows:
    """What the adversary asks for; in the rerank search a step measures two candidates per target, all at once."""
    searches = {"gumbel": 1, "pgd": 1, "rerank": 2}.get(config.adversary, 0) * config.search_steps
    if config.latents == "fresh":
        picks = [_picks(config, sizes, targets, template, source.random) for _ in range(searches)]
        if config.adversary == "rerank":
            picks = [[text for texts in picks for text in texts]]
        for texts in picks:
            source.draw(texts, True)
    rows = 2 * config.batch * searches
    return Rows(rows, calls=2) if config.adversary == "rerank" else Rows(rows, rows, searches)


def _defence(config: EraseConfig, sizes: Sequence[int], targets: Sequence[int], *, known: bool) -> Rows:
    """What an update about hostile prompts asks for besides; ``known``: the concepts' own predictions are."""
    asked = len(targets)
    rows = Rows() if known else Rows(asked, calls=1)
    if config.robust == "words":
        return rows + Rows(asked, asked, 1) * config.search_steps
    rows += Rows(asked, asked, 1) * EMBEDDING_STEPS
    # Two embeddings of each are held against no prompt and against the nearest words that stay.
    nearest = [min(NEAREST, (sizes or [config.neighbours] * len(config.erase))[i]) for i in targets]
    return rows + sum((Rows(3 + n, calls=1) for n in nearest), Rows())


def _picks(
    config: EraseConfig, sizes: Sequence[int], targets: Sequence[int], template: str, random: Random
) -> list[str]:
    if config.adversary in ("fixed", "none"):
        return []
    concepts = config.anchors if config.adversary == "anchor" else config.erase
    if config.adversary in ("anchor", "pgd"):
        return [fill(template, concepts[i]) for i in targets]
    sizes = sizes or [config.neighbours] * len(config.erase)
    return [fill(template, f"word {random.randrange(sizes[i])}") for i in targets]
