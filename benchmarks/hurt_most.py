"""Which protected words erasing moved most, method by method, with the LoRA files that a bench has made.

``python -m benchmarks.hurt_most --folder docs/results --methods adversarial,adversary=uniform --seeds 2`` measures
every run of these methods whose LoRA file is in the folder. The words are taken evenly from the concept space that the
default settings give for the target set: its neighbours, without the synonyms found by measurement. The figures are
shares of the sensitivity spectrum (1: as if left out of the prompt): the mean over all words, the mean over the tenth
hurt most, and that of the word hurt most.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from erasure.bench.cell import Bench, Cell
from erasure.bench.results import current, finished, read_rows
from erasure.bench.spaces import concept_space
from erasure.bench.statistics import summary
from erasure.bench.suite import SuiteOptions
from erasure.bench.suites import suite
from erasure.bench.variant import DEFAULT, variant
from erasure.bench.work import LORA, RESULTS
from erasure.evaluate.spectrum import Sensitivity, sensitivity_spectrum
from erasure.lora.file import read_lora
from erasure.lora.model_adapter import apply_lora_file
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint, sha256
from erasure.model.device import default_device
from erasure.model.model import open_model
from erasure.spread import spread

STATES = 2


@dataclass(frozen=True)
class Harm:
    """Shares of one run: the mean over all words, the mean over the tenth hurt most, and the highest."""

    mean: float
    tenth: float
    most: float


def protected_words(bench: Bench, checkpoint: CheckpointInfo, target_set: str, per_target: int) -> list[str]:
    """Return ``per_target`` words of each target, evenly spaced by nearness, each word once."""
    config = Cell(bench, target_set, variant(DEFAULT), 0).config(suite(bench.suite, bench.options).set(target_set))
    space = concept_space(bench.folder / "spaces", checkpoint, sha256(checkpoint.path), config, bench.device).space
    erased = {text for text, _ in space.erased_prompts(config)}
    words: list[str] = []
    for target in space.targets:
        words += spread([candidate.text for candidate in target.preserved if candidate.text not in erased], per_target)
    return list(dict.fromkeys(words))


def spectrum(checkpoint: CheckpointInfo, lora: Path, words: list[str], device: str) -> list[Sensitivity]:
    """Measure the words with the LoRA file; return the word hurt most first."""
    model = open_model(checkpoint, device=device)
    apply_lora_file(model.parts.modules, read_lora(lora))
    found = list(sensitivity_spectrum(model, words, states=STATES, steps=4))
    return sorted(found, key=lambda one: one.share, reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="folder of a bench")
    parser.add_argument("--methods", required=True, metavar="A,B", help="names of variants in its results")
    parser.add_argument("--sets", default="doubles-1,doubles-2,doubles-3,doubles-4")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--words", type=int, default=20, metavar="N", help="words per erased concept (20)")
    parser.add_argument("--device", default=default_device())
    arguments = parser.parse_args()

    checkpoint = suite("emoji", SuiteOptions()).checkpoint
    assert checkpoint is not None
    bench, info = Bench("emoji", checkpoint, arguments.folder, arguments.device), inspect_checkpoint(checkpoint)
    methods, sets = arguments.methods.split(","), arguments.sets.split(",")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    harms: dict[str, list[Harm]] = {}
    for row in current(finished(read_rows(arguments.folder / RESULTS))):
        lora = arguments.folder / "cells" / row["folder"] / LORA
        if row["variant"] in methods and row["set"] in sets and row["seed"] in seeds and lora.exists():
            words = protected_words(bench, info, row["set"], arguments.words)
            found = spectrum(info, lora, words, arguments.device)
            shares = [one.share for one in found]
            worst = shares[: max(1, len(shares) // 10)]
            harm = Harm(summary(shares).mean, summary(worst).mean, shares[0])
            hurt = ", ".join(one.text for one in found[:5])
            print(f"{row['variant']} on {row['set']}, seed {row['seed']}, {len(words)} words: "
                  f"{harm.mean:.3f}, {harm.tenth:.3f}, {harm.most:.3f} ({hurt})", flush=True)  # fmt: skip
            harms.setdefault(row["variant"], []).append(harm)
    print("\n| method | runs | all words | tenth hurt most | hurt most |\n|---|---|---|---|---|")
    for name, runs in harms.items():
        figures = [summary([harm.mean for harm in runs]), summary([harm.tenth for harm in runs]),
                   summary([harm.most for harm in runs])]  # fmt: skip
        print(f"| {name} | {len(runs)} | {' | '.join(f'{f.mean:.3f} ± {f.spread:.3f}' for f in figures)} |")


if __name__ == "__main__":
    main()
