"""Attack by fine-tuning: how many steps on a few pictures of the concept bring it back?

Whoever has the weights can do this, with a LoRA on top of the erasure, and nothing prevents it. What the number of
steps is worth says a control: the untouched model learns the same pictures under a word that it does not know. An
erasure that takes as many steps as that has left nothing to remember.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial

import torch
from torch import Tensor

from erasure.attacks.attack_settings import AttackSettings
from erasure.attacks.inversion import fresh_takes
from erasure.attacks.outcome import AS_ITSELF, AS_NEW, Attempt
from erasure.attacks.probes import any_noised, denoising_loss
from erasure.attacks.witness import Witness, Work
from erasure.config.template import fill
from erasure.judge.takes import takes
from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.lora.aside import lora_aside
from erasure.model.drawing import relayed


def try_finetuning(witness: Witness, sources: Tensor, settings: AttackSettings) -> Work:
    """Train a LoRA on ``sources`` (n, c, h, w), and draw fresh pictures after some steps; the first after none.

    Once on the erased model, the erasure being in its weights as in a baked checkpoint, with the concept's name; and
    once on the untouched model, with a new word.
    """
    shots = fresh_takes(witness.templates, settings)
    used, seeds = [template for template, _ in shots], [seed for _, seed in shots]
    with witness.model.frozen():
        before = witness.drawn(witness.model.embed([fill(template, witness.concept) for template in used]), seeds)
    untouched = tuple(witness.seen(before, used))
    attempts = []
    for half, (kind, name, merged) in enumerate(
        ((AS_ITSELF, witness.concept, True), (AS_NEW, settings.finetune_word, False))
    ):
        training = _trained(witness, sources, name, used, seeds, settings, merged=merged)
        # The judge is the untouched model, which is not there while it is trained: pictures are judged afterwards.
        drawn = yield from relayed(training, partial(_half, half))
        for step, after in drawn.items():
            attempt = Attempt(kind, fill(witness.templates[0], name), untouched, tuple(witness.seen(after, used)))
            attempts.append(witness.keep(attempt.after(step), before, after))
    return attempts


def _trained(
    witness: Witness,
    sources: Tensor,
    name: str,
    templates: Sequence[str],
    seeds: Sequence[int],
    settings: AttackSettings,
    *,
    merged: bool,
) -> Generator[float, None, dict[int, Tensor]]:
    """Train a LoRA under a name; return latents (n, c, h, w) of pictures of that name, by the number of steps."""
    model = witness.model
    generator = torch.Generator().manual_seed(settings.seed)
    looks, last, drawn = {0, *settings.finetune_looks}, max(settings.finetune_looks), {}
    with lora_aside(model.parts.modules, merged=merged):
        # Inside, where the text encoders say what this run's model is told.
        conditioning = model.embed([fill(template, name) for template in templates])
        turns = model.embed([fill(template, name) for template, _ in takes(witness.templates, settings.batch)])
        inject_lora(model.unet, "xattn", settings.finetune_rank, settings.finetune_rank, settings.seed)
        optimizer = torch.optim.Adam(lora_parameters(model.unet), lr=settings.finetune_rate)
        for step in range(last + 1):
            if step in looks:
                drawn[step] = witness.drawn(conditioning, seeds)
            if step == last:
                break
            noisy = any_noised(model, sources, settings.batch, generator)
            with torch.enable_grad():
                loss = denoising_loss(model, noisy, turns).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            yield (step + 1) / last
    return drawn


def _half(which: int, share: float) -> float:
    return (which + share) / 2
