"""Which text encoder tells a concept's other names from everything else? Nearness decides what is compared and kept.

``python -m benchmarks.nearness --checkpoint FILE`` asks every text encoder of a checkpoint for the state at the end
token of each name that emoji-SD's concepts have. For each concept, its other names and the names of all other concepts
are put in the order of their cosine similarity to its first name. It prints the mean area under the ROC curve and the
mean share of the other names among the first twenty: by each encoder, by all side by side as a run has them, by all
less the mean of all names, and by the pooled text where the model has one. No row of the U-Net is taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.judge import area_under_curve
from emoji_sd import MODEL
from emoji_sd.concepts import CONCEPTS
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.model import Model, open_model

FIRST = 20  # that a verdict looks at


def ways(model: Model, names: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield ways to tell how near names are to each other, each with what is compared, (names, d)."""
    said = model.pooled(names)
    states = said.split([reader.encoder.config.hidden_size for reader in model.parts.texts], dim=1)
    yield from ((f"text encoder {number}", own) for number, own in enumerate(states, 1))
    if len(states) > 1:
        yield "all side by side", said
    yield "the same, less their mean", torch.cat([normalize(own - own.mean(0), dim=1) for own in states], dim=1)
    pooled = model.embed(names).pooled
    if pooled is not None:
        yield "pooled text", pooled


def told_apart(said: Tensor, owners: Tensor, firsts: list[int]) -> tuple[float, float]:
    """Return the mean area under the ROC curve, and the mean share of other names among the first :data:`FIRST`."""
    areas, shares = [], []
    said = normalize(said, dim=1)
    for first in firsts:
        others = torch.arange(len(said)) != first
        own, similarity = (owners == owners[first])[others], (said @ said[first])[others]
        areas.append(area_under_curve(similarity[own].tolist(), similarity[~own].tolist()))
        shares.append(float(own[similarity.topk(FIRST).indices].sum() / own.sum()))
    return fmean(areas), fmean(shares)


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=MODEL, help="a checkpoint (default: emoji-SD)")
    model = open_model(inspect_checkpoint(parser.parse_args().checkpoint))
    named = [(number, name) for number, one in enumerate(CONCEPTS) for name in (one.name, *one.synonyms)]
    owners = torch.tensor([number for number, _ in named])
    firsts = [
        k for k, (number, name) in enumerate(named) if name == CONCEPTS[number].name and CONCEPTS[number].synonyms
    ]
    print(f"{len(firsts)} concepts, {len(named)} names")
    print("| nearness by | area under the ROC curve | other names among the first 20 |\n|---|---|---|")
    for way, said in ways(model, [name for _, name in named]):
        area, share = told_apart(said.cpu(), owners, firsts)
        print(f"| {way} | {area:.3f} | {100 * share:.1f} % |")


if __name__ == "__main__":
    main()
