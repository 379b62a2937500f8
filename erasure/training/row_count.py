"""U-Net rows of a training before it starts, without torch: plays the draws of a run and counts what they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from erasure.config.settings import EraseConfig
from erasure.config.template import fill

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
    rows: int = 0
    known: dict[tuple[str, bool], _Run] = field(default_factory=dict)

    def draw(self, texts: Sequence[str], tuned: bool) -> tuple[bool, bool]:
        """Whether the frozen model's predictions come along: with the prompt, and without one."""
        config, row = self.config, 1 if self.config.sampling_guidance == 1 else 2
        if config.latents == "noise":
            return False, False
        if config.latents == "fresh":
            self.rows += row * sum(self.random.randrange(config.sampling_steps) for _ in texts)
            return False, False
        pictures = config.latents == "pictures"
        for text in texts:
            run = self._run(text, tuned and not pictures)
            goal = self.random.randrange(config.sampling_steps) + (not tuned)
            missing = max(0, (config.sampling_steps if pictures else goal) - run.steps)
            run.steps += missing
            self.rows += row * missing
        return pictures or not tuned, not pictures and not tuned and row == 2

    def _run(self, text: str, tuned: bool) -> _Run:
        run = self.known.get((text, tuned))
        if run is None or run.uses >= (self.config.reuse or self.config.sampling_steps):
            run = self.known[text, tuned] = _Run()
        run.uses += 1
        return run


@lru_cache(maxsize=64)
def rows_per_update(config: EraseConfig, sizes: tuple[int, ...] = ()) -> float:
    """On average. ``sizes``: K per target, where they are known; every neighbour is picked as often as any other."""
    if config.method == "uce":
        return 0.0
    updates = min(config.updates, _UPDATES)
    plays = -(-_UPDATES // updates)
    rows = 0
    for play in range(plays):
        source = _Source(config, Random(config.seed + play))
        rows += sum(_update(config, sizes, source, update) for update in range(updates)) + source.rows
    return rows / (updates * plays)


def _update(config: EraseConfig, sizes: Sequence[int], source: _Source, update: int) -> int:
    """Rows of one update, besides those that the source counts itself."""
    targets = [(update * config.batch + i) % len(config.erase) for i in range(config.batch)]
    template = source.random.choice(config.templates)
    anchors = [fill(template, config.anchors[i]) for i in targets]
    fresh, rows = config.latents == "fresh", 0
    # A step of the rerank search measures two candidates per target.
    for _ in range(config.search_steps * {"gumbel": 1, "pgd": 1, "rerank": 2}.get(config.adversary, 0)):
        if fresh:
            source.draw(_picks(config, sizes, targets, template, source.random), True)
        rows += 2 * config.batch
    preserved = _picks(config, sizes, targets, template, source.random)
    if config.preserve or config.adversary == "fixed":
        preserved.append(fill(template, source.random.choice(config.preserve)) if config.preserve else "")
    of = anchors if config.latents == "pictures" else [fill(template, config.erase[i]) for i in targets]
    eps, null = source.draw(of, config.on_policy)
    kept, _ = source.draw(preserved, config.preserve_on_policy or fresh)
    rows += sum(not null or anchor != "" for anchor in anchors)
    if config.guidance and config.guidance_from == "null" and any(anchors) and not null:
        rows += len(targets)
    if config.guidance and not eps:
        rows += len(targets)
    if not kept or config.adversary == "pgd":
        rows += len(preserved)
    return rows + len(targets) + len(preserved)


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
