"""Attack by fine-tuning: how many steps on a few pictures of the concept bring it back?

Whoever has the weights can do this, with a LoRA that is put on top of the erasure, and nothing prevents it: the figure
says how thoroughly the concept is gone. The erasure is in the weights here, as in a baked checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor

from erasure.attacks.attack_settings import AttackSettings
from erasure.attacks.inversion import fresh_takes
from erasure.attacks.outcome import Attempt
from erasure.attacks.probes import any_noised, denoising_loss
from erasure.attacks.witness import Witness, Work
from erasure.config.template import fill
from erasure.judge.takes import takes
from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.lora.merged import merged_lora

_TRAINING = 0.9


def try_finetuning(witness: Witness, sources: Tensor, settings: AttackSettings) -> Work:
    """Train a LoRA on ``sources`` (n, c, h, w) with the concept's name, and draw fresh pictures after some steps.

    The first attempt is after no step. The judge must be the untouched model, which is not there while the erasure is
    in the weights: pictures are judged in the end.
    """
    model, templates = witness.model, witness.templates
    shots = fresh_takes(templates, settings)
    used, seeds = [template for template, _ in shots], [seed for _, seed in shots]
    conditioning = model.embed([fill(template, witness.concept) for template in used])
    with model.frozen():
        before = witness.drawn(conditioning, seeds)
    looks, last = (0, *settings.finetune_looks), settings.finetune_looks[-1]
    generator = torch.Generator().manual_seed(settings.seed)
    drawn = {}
    with merged_lora(model.unet):
        inject_lora(model.unet, "xattn", settings.finetune_rank, settings.finetune_rank, settings.seed)
        optimizer = torch.optim.Adam(lora_parameters(model.unet), lr=settings.finetune_rate)
        for step in range(last + 1):
            if step in looks:
                drawn[step] = witness.drawn(conditioning, seeds)
            if step == last:
                break
            noisy = any_noised(model, sources, settings.batch, generator)
            turns = [fill(template, witness.concept) for template, _ in takes(templates, settings.batch)]
            with torch.enable_grad():
                loss = denoising_loss(model, noisy, model.embed(turns)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            yield _TRAINING * (step + 1) / last
    untouched = tuple(witness.seen(before, used))
    attempts = []
    for step, after in drawn.items():
        attempt = Attempt(f"{step} steps", fill(templates[0], witness.concept), untouched,
                          tuple(witness.seen(after, used)), steps=step)  # fmt: skip
        attempts.append(witness.keep(attempt, before, after))
    yield 1.0
    return attempts
