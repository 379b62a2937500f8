"""Attack by searched words: those of a vocabulary, and pairs of them, that bring the concept back best.

A coordinate search over words, within a budget of U-Net rows. What it minimises is the objective of UnlearnDiffAtk
(Zhang et al., ECCV 2024, arXiv:2310.11868): the erased model's loss on noisy pictures of the concept, under the prompt.
Ring-A-Bell (Tsai et al., ICLR 2024, arXiv:2310.10012) looks where the concept lies in the space of texts: words are
tried in that order. The best are drawn and judged: those from which the untouched model draws the concept, and of these
the ones from which the erased model does so most.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from erasure.attacks.attack_settings import AttackSettings
from erasure.attacks.inversion import fresh_takes
from erasure.attacks.probes import NoisyPictures, denoising_loss, noised
from erasure.attacks.witness import Asked, Shot, Witness, Work
from erasure.config.template import fill
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


@dataclass(frozen=True)
class Budget:
    """How many words, partners of each root, and drawn prompts there are rows for."""

    words: int
    partners: int
    drawn: int

    @classmethod
    def of(cls, rows: int, per_picture: int, final: int, vocabulary: int) -> Budget:
        """Divide ``rows``; ``per_picture``: rows to draw and judge one; ``final``: rows of the pictures in the end."""
        left = rows - final
        each = _FIRST + _STATES / _AGAIN
        words = max(1, min(vocabulary, int(left * _WORDS / each)))
        partners = max(0, min(words, int(left * _PAIRS / each / (2 * _ROOTS))))
        spent = (words + 2 * _ROOTS * partners) * each
        return cls(words, partners, max(1, int((left - spent) / (2 * per_picture))))


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
    """Return words and pairs of words, those first with which the erased model denoises the pictures best."""
    states = _states(witness.model, sources, settings.seed)
    losses = yield from relayed(_raced(witness, states, words), lambda share: share / 2)
    best = _sorted(losses)
    roots, partners = best[:_ROOTS], best[: budget.partners]
    pairs = [pair for root in roots for word in partners for pair in (f"{root} {word}", f"{word} {root}")]
    more = yield from relayed(_raced(witness, states, dict.fromkeys(pairs)), lambda share: (1 + share) / 2)
    return _sorted({**losses, **more})


def _raced(
    witness: Witness, states: NoisyPictures, prompts: Sequence[str] | dict[str, None]
) -> Generator[float, None, dict[str, tuple[bool, float]]]:
    """Return for each prompt whether it was tried on all states, and its mean loss there.

    All are tried on the first states, and a tenth of them, those that are best there, on all.
    """
    prompts = list(prompts)
    losses = {}
    for prompt, loss in (yield from relayed(_losses(witness, states[:_FIRST], prompts), lambda share: share / 2)):
        losses[prompt] = (True, loss)
    again = _sorted(losses)[: -(-len(prompts) // _AGAIN)]
    later = yield from relayed(_losses(witness, states[_FIRST:], again), lambda share: (1 + share) / 2)
    for prompt, loss in later:
        first = losses[prompt][1]
        losses[prompt] = (False, (_FIRST * first + (len(states) - _FIRST) * loss) / len(states))
    return losses


def _sorted(losses: dict[str, tuple[bool, float]]) -> list[str]:
    return sorted(losses, key=lambda prompt: losses[prompt])


@torch.no_grad()
def _losses(
    witness: Witness, states: NoisyPictures, prompts: Sequence[str]
) -> Generator[float, None, list[tuple[str, float]]]:
    """Return each prompt with the erased model's mean loss on the states."""
    model, template = witness.model, witness.templates[0]
    found: list[tuple[str, float]] = []
    size = max(1, _ROWS_OF_A_CALL // len(states))
    for start in range(0, len(prompts), size):
        chunk = prompts[start : start + size]
        conditioning = model.embed([fill(template, prompt) for prompt in chunk])
        each = [i for i in range(len(chunk)) for _ in range(len(states))]
        many = NoisyPictures(*(x.repeat(len(chunk), *[1] * (x.dim() - 1)) for x in (states.z, states.t, states.noise)))
        loss = denoising_loss(model, many, conditioning[each]).view(len(chunk), len(states)).mean(dim=1)
        found += zip(chunk, loss.tolist(), strict=True)
        yield len(found) / len(prompts)
    return found


def _states(model: Model, sources: Tensor, seed: int) -> NoisyPictures:
    """Return noisy pictures of the concept, at the levels in turn."""
    last = model.train_steps - 1
    t = torch.tensor([min(last, int(_LEVELS[i % len(_LEVELS)] * model.train_steps)) for i in range(_STATES)])
    chosen = sources[torch.arange(_STATES) % len(sources)]
    return noised(model, chosen, t, torch.Generator().manual_seed(seed))


def _drawn_best(
    witness: Witness, prompts: Sequence[str], settings: AttackSettings
) -> Generator[float, None, list[str]]:
    """Draw each prompt once without and with the LoRA; return at most ``found`` that bring the concept back best.

    Those from which the untouched model does not draw the concept are left out: they are no attacks.
    """
    take = [(witness.templates[0], fresh_takes(witness.templates[:1], settings)[0][1] - 1)]
    shots = [shot for prompt in prompts for shot in _shots(witness, prompt, take)]
    drawing = witness.album.draw([(shot.prompt, shot.seed) for shot in shots], "attacks")
    before = yield from relayed(drawing, lambda share: share / 2)
    known = witness.seen(before, [shot.template for shot in shots])
    tried = [shot for shot, seen in zip(shots, known, strict=True) if seen]
    _, levels = yield from relayed(witness.erased(tried), lambda share: (1 + share) / 2)
    names = [prompt for prompt, seen in zip(prompts, known, strict=True) if seen]
    level = dict(zip(names, levels, strict=True))
    return sorted(names, key=lambda prompt: -level[prompt])[: settings.found]


def _shots(witness: Witness, prompt: str, takes: Sequence[tuple[str, int]]) -> list[Shot]:
    return [Shot(fill(template, prompt), seed, template) for template, seed in takes]
