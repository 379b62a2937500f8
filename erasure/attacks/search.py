"""Attack by searched words: those of a vocabulary, and pairs of them, that bring the concept back best.

A coordinate search over words, within a budget of U-Net rows. What it minimises is the objective of UnlearnDiffAtk
(Zhang et al., ECCV 2024, arXiv:2310.11868): the erased model's loss on noisy pictures of the concept, under the prompt.
Ring-A-Bell (Tsai et al., ICLR 2024, arXiv:2310.10012) looks where the concept lies in the space of texts: words are
tried in that order. The best are drawn and judged: those from which the untouched model draws the concept, and of these
the ones from which the erased model does so most.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from erasure.attacks.attack_settings import AttackSettings
from erasure.attacks.inversion import fresh_takes
from erasure.attacks.probes import NoisyPictures, denoising_loss, noised
from erasure.attacks.witness import Asked, Shot, Witness, Work
from erasure.config.template import fill
from erasure.judge.scale import CUT
from erasure.judge.takes import takes
from erasure.model.drawing import relayed
from erasure.model.model import Model

# Shares of the budget: for words, for pairs, and the rest for pictures.
_WORDS, _PAIRS = 0.4, 0.3
# Noisy pictures on which every word is tried, and on which those are that are tried again; their noise levels, as in
# the judge. Of the words, a tenth is tried again.
_FIRST, _STATES = 2, 8
_LEVELS = (0.7, 0.85, 0.4)
_AGAIN = 10
# Words of which pairs are made: each with many partners, before it and behind it.
_ROOTS = 4
# The share of the work that is done before pictures are drawn.
_SEARCHED = 0.7
_ROWS_OF_A_CALL = 32
# Pictures of each prompt, without and with the LoRA, by which the best are chosen.
_DRAWN = 2


@dataclass(frozen=True)
class Budget:
    """How many words, partners of each root, and drawn prompts there are rows for."""

    words: int
    partners: int
    drawn: int

    @classmethod
    def of(cls, rows: int, per_picture: int, final: int, vocabulary: int) -> Budget:
        """Divide ``rows``; ``per_picture``: rows to draw and judge one; ``final``: rows of the pictures in the end."""
        left = rows - final - 2 * _STATES
        each = _FIRST + (2 * _STATES - _FIRST) / _AGAIN
        words = max(1, min(vocabulary, int(left * _WORDS / each)))
        partners = max(0, min(words, int(left * _PAIRS / each / (2 * _ROOTS))))
        spent = (words + 2 * _ROOTS * partners) * each
        return cls(words, partners, max(1, int((left - spent) / (2 * _DRAWN * per_picture))))


def try_search(witness: Witness, sources: Tensor, vocabulary: Sequence[str], settings: AttackSettings) -> Work:
    """Search for prompts and draw those found in fresh pictures. ``sources`` (n, c, h, w): pictures of the concept."""
    model, judge = witness.model, witness.album.judge.settings
    shots = fresh_takes(witness.templates, settings)
    per_picture = int(judge.rows(1, 1).total)
    final = 2 * per_picture * settings.found * len(shots)
    words = nearest_first(model, witness.concept, vocabulary)
    budget = Budget.of(settings.search_rows, per_picture, final, len(words))
    found = yield from relayed(
        _prompts(witness, sources, words[: budget.words], budget, settings), lambda share: _SEARCHED * share
    )
    best = yield from relayed(
        _drawn_best(witness, found[: budget.drawn], settings), lambda share: _SEARCHED + 0.2 * share
    )
    asked = [
        Asked("pairs" if " " in prompt else "words", prompt, tuple(_shots(witness, prompt, shots))) for prompt in best
    ]
    return (yield from relayed(witness.attempts(asked), lambda share: 0.9 + 0.1 * share))


def nearest_first(model: Model, concept: str, vocabulary: Sequence[str]) -> list[str]:
    """Return the words of the vocabulary but the concept's own name, the nearest to it in the space of texts first."""
    words = [word for word in dict.fromkeys(vocabulary) if word.casefold() != concept.casefold()]
    pooled = model.pooled([concept, *words])
    order = cosine_similarity(pooled[1:], pooled[:1]).argsort(descending=True, stable=True)
    return [words[i] for i in order.tolist()]


def _prompts(
    witness: Witness, sources: Tensor, words: Sequence[str], budget: Budget, settings: AttackSettings
) -> Generator[float, None, list[str]]:
    """Return words and pairs of words, those first that promise most."""
    race = yield from _race(witness, sources, settings.seed)
    losses = yield from relayed(race.run(words), lambda share: share / 2)
    best = _sorted(losses)
    roots, partners = best[:_ROOTS], best[: budget.partners]
    pairs = [pair for root in roots for word in partners for pair in (f"{root} {word}", f"{word} {root}")]
    more = yield from relayed(race.run(list(dict.fromkeys(pairs))), lambda share: (1 + share) / 2)
    return _sorted({**losses, **more})


@dataclass(frozen=True)
class _Race:
    """Tries prompts on noisy pictures of the concept (``states``).

    ``nothing`` and ``concept``: the untouched model's losses under no prompt and under the concept's own, between which
    a prompt's gain lies: 0 says nothing of what is in the pictures, 1 as much as the concept's name does.
    """

    witness: Witness
    states: NoisyPictures
    nothing: float
    concept: float

    def run(self, prompts: Sequence[str]) -> Generator[float, None, dict[str, tuple[bool, float]]]:
        """Return for each prompt whether it fell out early, and what to sort it by, the best first.

        All are tried on the first states with the erased model. A tenth of them, those that are best there, is tried on
        all, with both models: what brings the concept back must mean it to the untouched model, too, so the smaller of
        its two gains decides.
        """
        first = yield from relayed(_losses(self.witness, self.states[:_FIRST], prompts), lambda share: 0.5 * share)
        found = {prompt: (True, loss) for prompt, loss in zip(prompts, first, strict=True)}
        again = _sorted(found)[: -(-len(prompts) // _AGAIN)]
        rest = yield from relayed(_losses(self.witness, self.states[_FIRST:], again), lambda share: 0.5 + 0.2 * share)
        untouched = yield from relayed(
            _losses(self.witness, self.states, again, frozen=True), lambda share: 0.7 + 0.3 * share
        )
        for prompt, later, own in zip(again, rest, untouched, strict=True):
            erased = (_FIRST * found[prompt][1] + (len(self.states) - _FIRST) * later) / len(self.states)
            found[prompt] = (False, -min(self._gain(erased), self._gain(own)))
        return found

    def _gain(self, loss: float) -> float:
        return (self.nothing - loss) / max(self.nothing - self.concept, 1e-9)


def _race(witness: Witness, sources: Tensor, seed: int) -> Generator[float, None, _Race]:
    """Return the race on noisy ``sources`` (n, c, h, w), at the levels in turn."""
    model, last = witness.model, witness.model.train_steps - 1
    t = torch.tensor([min(last, int(_LEVELS[i % len(_LEVELS)] * model.train_steps)) for i in range(_STATES)])
    chosen = sources[torch.arange(_STATES) % len(sources)]
    states = noised(model, chosen, t, torch.Generator().manual_seed(seed))
    nothing, own = yield from relayed(_losses(witness, states, ["", witness.concept], frozen=True), lambda share: 0.0)
    return _Race(witness, states, nothing, own)


def _sorted(losses: dict[str, tuple[bool, float]]) -> list[str]:
    return sorted(losses, key=lambda prompt: losses[prompt])


@torch.no_grad()
def _losses(
    witness: Witness, states: NoisyPictures, prompts: Sequence[str], *, frozen: bool = False
) -> Generator[float, None, list[float]]:
    """Return each prompt's mean loss on the states, by the erased model, or by the untouched one."""
    model, template, found = witness.model, witness.templates[0], list[float]()
    size = max(1, _ROWS_OF_A_CALL // len(states))
    for start in range(0, len(prompts), size):
        chunk = prompts[start : start + size]
        conditioning = model.embed([fill(template, prompt) for prompt in chunk])
        each = [i for i in range(len(chunk)) for _ in range(len(states))]
        many = NoisyPictures(*(x.repeat(len(chunk), *[1] * (x.dim() - 1)) for x in (states.z, states.t, states.noise)))
        with model.frozen() if frozen else nullcontext():
            loss = denoising_loss(model, many, conditioning[each]).view(len(chunk), len(states)).mean(dim=1)
        found += loss.tolist()
        yield len(found) / len(prompts)
    return found


def _drawn_best(
    witness: Witness, prompts: Sequence[str], settings: AttackSettings
) -> Generator[float, None, list[str]]:
    """Draw each prompt without and with the LoRA; return at most ``found`` that bring the concept back best.

    Those from which the untouched model does not draw the concept are left out: they are no attacks.
    """
    _, seed = fresh_takes(witness.templates, settings)[0]
    chosen = [(template, seed - 1 - i) for i, (template, _) in enumerate(takes(witness.templates, _DRAWN))]
    shots = [shot for prompt in prompts for shot in _shots(witness, prompt, chosen)]
    drawing = witness.album.draw([(shot.prompt, shot.seed) for shot in shots], "attacks")
    before = yield from relayed(drawing, lambda share: share / 2)
    levels = _means(witness.levels(before, [shot.template for shot in shots]))
    known = [prompt for prompt, level in zip(prompts, levels, strict=True) if level >= CUT]
    tried = [shot for prompt in known for shot in _shots(witness, prompt, chosen)]
    _, after = yield from relayed(witness.erased(tried), lambda share: (1 + share) / 2)
    level = dict(zip(known, _means(after), strict=True))
    return sorted(known, key=lambda prompt: -level[prompt])[: settings.found]


def _means(levels: Sequence[float]) -> list[float]:
    """Return the mean level of each prompt's pictures."""
    return [fmean(levels[i : i + _DRAWN]) for i in range(0, len(levels), _DRAWN)]


def _shots(witness: Witness, prompt: str, chosen: Sequence[tuple[str, int]]) -> list[Shot]:
    return [Shot(fill(template, prompt), seed, template) for template, seed in chosen]
