"""Does comparing words with a concept in stages lose any, and what does it cost?

``python -m benchmarks.synonyms --checkpoint FILE`` measures s(c) of words near each of emoji-SD's ten doubles twice:
in the race that a run makes, see :func:`erasure.concepts.synonymy.compare_steps`, and of every word on every noisy
latent. It prints how many words are below the threshold, how many of these the race left out on its way, and the rows
of both, per concept. Words are those that a run would look at first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from emoji_sd import MODEL
from emoji_sd.concepts import PAPER_TEN
from erasure.concepts.candidates import candidates, nearest_first, similarities
from erasure.concepts.synonymy import compare, probe_target
from erasure.concepts.vocabulary import load_vocabulary
from erasure.config.presets import preset
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.drawing import run_to_end
from erasure.model.model import Model, open_model


@dataclass(frozen=True)
class Race:
    """Of one concept: its ``words`` below the threshold on all latents, those of them that were ``lost``, and rows."""

    words: tuple[str, ...]
    lost: tuple[str, ...]
    rows: int
    rows_of_all: int


def race(model: Model, config: EraseConfig) -> Race:
    """Compare the words near the config's only target in both ways. Raises: ConceptError."""
    _, free = candidates(model, load_vocabulary(config, model.tokenizer), config, [])
    words = nearest_first(free, run_to_end(similarities(model, free, config))[0])[: config.neighbours]
    probe = probe_target(
        model,
        model.embed(config.erase),
        states=config.synonym_states,
        seed=config.seed,
        guidance=config.sampling_guidance,
    )
    if probe is None:
        return Race((), (), 0, 0)
    said, rows, found = model.embed(words), [], []
    for threshold in (config.synonym_threshold, float("inf")):
        began = model.rows.all.total
        found.append((compare(model, probe, said, threshold=threshold) < config.synonym_threshold).tolist())
        rows.append(int(model.rows.all.total - began))
    raced, true = ([word for word, is_near in zip(words, near, strict=True) if is_near] for near in found)
    return Race(tuple(true), tuple(word for word in true if word not in raced), *rows)


def told(races: Sequence[Race]) -> str:
    """Say the sum of words, and the mean of rows."""
    words, lost = (sum(map(len, group)) for group in ([r.words for r in races], [r.lost for r in races]))
    rows, every = fmean(r.rows for r in races), fmean(r.rows_of_all for r in races)
    return f"{words} words below the threshold, {lost} of them lost; {rows:.0f} rows each, {every:.0f} for all words"


def main() -> None:
    """Print a line for each concept, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=MODEL, help="a checkpoint (default: emoji-SD)")
    model = open_model(inspect_checkpoint(parser.parse_args().checkpoint))
    races = []
    for concept in PAPER_TEN:
        races.append(race(model, config_from_dict({**preset("object").settings, "erase": [concept]})))
        print(f"{concept}: {told(races[-1:])}", flush=True)
    print(f"all: {told(races)}")


if __name__ == "__main__":
    main()
