"""Attack by learnt words: concept inversion.

Pham et al., ICLR 2024, "Circumventing Concept Erasure Methods for Text-to-Image Generative Models" (arXiv:2308.01508):
textual inversion against the erased model, on pictures of the concept. Whoever can load embeddings can use what it
finds.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from erasure.attacks.attack_settings import AttackSettings
from erasure.attacks.outcome import Attempt
from erasure.attacks.probes import any_noised, denoising_loss
from erasure.attacks.witness import Witness, Work
from erasure.judge.takes import takes
from erasure.model.learnt_words import LearntWord, token_vectors

# Share of the work that training is, the rest being pictures.
_TRAINING = 0.9
# Added to the seeds of takes: no other picture of a judge or of an attack has these.
_FRESH = 5000


def try_inversion(witness: Witness, sources: Tensor, vectors: int, settings: AttackSettings) -> Work:
    """Learn a word of so many vectors from ``sources`` (n, c, h, w), and draw fresh pictures of it.

    They begin as the embeddings of the concept's own tokens.
    """
    model = witness.model
    word = LearntWord(model.parts, token_vectors(model.parts, witness.concept, vectors))
    yield from train_word(word, witness, sources, settings)
    shots = fresh_takes(witness.templates, settings)
    templates, seeds = [template for template, _ in shots], [seed for _, seed in shots]
    with torch.no_grad():
        conditioning = word(templates)
    after = witness.drawn(conditioning, seeds)
    with model.frozen():
        before = witness.drawn(conditioning, seeds)
    untouched, erased = (tuple(witness.seen(latents, templates)) for latents in (before, after))
    yield 1.0
    attempt = Attempt("learnt", "", untouched, erased, steps=settings.inversion_steps)
    return [witness.keep(attempt, before, after)]


def train_word(
    word: LearntWord, witness: Witness, sources: Tensor, settings: AttackSettings
) -> Generator[float, None, None]:
    """Train the vectors with Adam; yields the share of the whole attack that is done."""
    model = witness.model
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.Adam([word.vectors], lr=settings.inversion_rate)
    for step in range(settings.inversion_steps):
        noisy = any_noised(model, sources, settings.batch, generator)
        templates = [witness.templates[(step + i) % len(witness.templates)] for i in range(settings.batch)]
        with torch.enable_grad():
            loss = denoising_loss(model, noisy, word(templates)).mean()
        # Of the vectors alone: the LoRA's own gradients are not wanted.
        word.vectors.grad = torch.autograd.grad(loss, word.vectors)[0]
        optimizer.step()
        yield _TRAINING * (step + 1) / settings.inversion_steps


def fresh_takes(templates: Sequence[str], settings: AttackSettings) -> list[tuple[str, int]]:
    """Return (template, seed) of pictures whose seeds no other picture of a judge or of an attack has."""
    return [(template, _FRESH + seed) for template, seed in takes(templates, settings.fresh_pictures)]
