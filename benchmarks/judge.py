"""Does the frozen model judge pictures as the classifier does that ships with emoji-SD?

``python -m benchmarks.judge --lora A.safetensors --lora B.safetensors --out judge.json`` draws pictures without a LoRA
and with each of the files at weights 0.25 to 1.25, and asks both judges whether they show their concept, another one,
their style and another one. For each of the two kinds it prints the area under the ROC curve of the judge's levels,
with the classifier's first choice as truth: over all pictures, and over those that the classifier is sure of (more than
half of its confidence); and how often both agree at the judge's own cut. By LoRA and weight it prints the share of
pictures in which each of them recognises the concept.

The scale of a concept or style is made of the pictures without a LoRA, as in a run.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from torch import Tensor

from emoji_sd import MODEL, load_classifier
from emoji_sd.captions import fill, measured_caption
from emoji_sd.concepts import NAMES, STYLES
from erasure.judge.judge import Judge, Query
from erasure.judge.judge_settings import JUDGE_SETTINGS, settings_for
from erasure.judge.scale import Scale
from erasure.lora.file import read_lora
from erasure.lora.fit import match_lora
from erasure.lora.model_adapter import inject_lora_file, model_shapes, remove_model_lora
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.drawing import run_to_end
from erasure.model.model import open_model
from erasure.spread import spread

WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.25)


@dataclass(frozen=True)
class Answer:
    """What both said to one question about a picture. ``source``: the LoRA and its weight, "" without one."""

    kind: str  # "concept" or "style"
    asked: str
    own: bool  # whether the picture was drawn with what is asked for
    source: str
    score: float
    shown: bool  # the classifier's first choice
    sure: bool


def area_under_curve(present: Sequence[float], absent: Sequence[float]) -> float:
    """Return the chance that a present one lies above an absent one, ties counted half. NaN if either is empty."""
    pairs = [(a > b) + 0.5 * (a == b) for a in present for b in absent]
    return fmean(pairs) if pairs else float("nan")


def levels(answers: Sequence[Answer]) -> list[tuple[Answer, float]]:
    """Return each answer with its level, on scales made from the pictures without a LoRA."""
    present: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    absent: defaultdict[str, list[float]] = defaultdict(list)
    for answer in answers:
        if not answer.source:
            (present[answer.kind, answer.asked] if answer.own else absent[answer.kind]).append(answer.score)
    found = []
    for answer in answers:
        own = present.get((answer.kind, answer.asked))
        if own:
            found.append((answer, Scale.of(own, absent[answer.kind]).level(answer.score)))
    return found


def report(answers: Sequence[Answer]) -> dict[str, object]:
    """Return areas, agreement, and shares by source, for each kind of question."""
    result: dict[str, object] = {}
    for kind in ("concept", "style"):
        found = [(answer, level) for answer, level in levels(answers) if answer.kind == kind]
        if not found:
            continue

        def area(chosen: Callable[[Answer], bool], found: list[tuple[Answer, float]] = found) -> float:
            present, absent = ([level for answer, level in found if answer.shown == shown and chosen(answer)]
                               for shown in (True, False))  # fmt: skip
            return round(area_under_curve(present, absent), 4)

        shares: dict[str, list[float]] = {}
        for source in dict.fromkeys(answer.source for answer, _ in found):
            own = [(level >= 0.5, answer.shown) for answer, level in found if answer.own and answer.source == source]
            shares[source or "no LoRA"] = [round(fmean(values), 3) for values in zip(*own, strict=True)]
        result[kind] = {
            "questions": len(found),
            "area": area(lambda answer: True),
            "area, classifier sure": area(lambda answer: answer.sure),
            "agreement": round(fmean((level >= 0.5) == answer.shown for answer, level in found), 4),
            "share recognised by judge and classifier": shares,
        }
    return result


class Study:
    """Draws and asks. Deterministic for a seed."""

    def __init__(self, seed: int):
        self.model = open_model(inspect_checkpoint(MODEL))
        self.judge, self.classifier = Judge(self.model), load_classifier()
        self.style_judge = Judge(self.model, settings_for(("a picture[ in {}]",)))
        self.random = random.Random(seed)
        self.answers: list[Answer] = []

    def ask(self, shots: Sequence[tuple[str, str]], source: str) -> None:
        """Draw a picture of each (concept, style), and ask both judges about it."""
        seeds = [self.random.randrange(10**6) for _ in shots]
        latents = run_to_end(self.judge.draw([measured_caption(*shot) for shot in shots], seeds))
        concepts, styles = self.classifier([self.model.decode(latent) for latent in latents])
        self._ask_all(shots, latents, concepts, source, "concept")
        self._ask_all(shots, latents, styles, source, "style")

    def _ask_all(
        self, shots: Sequence[tuple[str, str]], latents: Tensor, chances: Tensor, source: str, kind: str
    ) -> None:
        names = self.classifier.concepts if kind == "concept" else self.classifier.styles
        others = [self.random.choice([name for name in names if name not in shot]) for shot in shots]
        rows = []
        for (concept, style), other in zip(shots, others, strict=True):
            if kind == "concept":
                rows.append([Query(measured_caption(name, style)) for name in (concept, other)])
            else:
                plain = fill("a picture of {a} {thing}", concept)
                rows.append([Query(measured_caption(concept, name), plain) for name in (style, other)])
        scores = (self.judge if kind == "concept" else self.style_judge).scores(latents, rows)
        first, most = chances.argmax(1).tolist(), chances.max(1).values.tolist()
        for i, (concept, style) in enumerate(shots):
            own = concept if kind == "concept" else style
            for name, score, is_own in ((own, scores[i][0], True), (others[i], scores[i][1], False)):
                shown = names[first[i]] == name
                self.answers.append(Answer(kind, name, is_own, source, score, shown, most[i] > 0.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lora", type=Path, action="append", default=[], metavar="FILE", help="repeat for several")
    parser.add_argument("--concepts", default="church,truck,radio,parachute,trumpet", help="drawn with every LoRA")
    parser.add_argument("--pictures", type=int, default=60, metavar="N", help="per LoRA and weight (60)")
    parser.add_argument("--base", type=int, default=420, metavar="N", help="pictures without a LoRA, at most 420")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    arguments = parser.parse_args()

    study, every = Study(arguments.seed), [(concept, style) for concept in NAMES for style in STYLES]
    study.ask(spread(every, arguments.base), "")
    erased = arguments.concepts.split(",")
    for path in arguments.lora:
        file, modules = read_lora(path), study.model.parts.modules
        match_lora(file, model_shapes(modules))
        for weight in WEIGHTS:
            # Half of the pictures are of what may be gone, half of anything.
            shots = [(study.random.choice(erased), study.random.choice(STYLES)) for _ in range(arguments.pictures // 2)]
            shots += study.random.sample(every, arguments.pictures - len(shots))
            inject_lora_file(modules, file, weight)
            study.ask(shots, f"{path.stem} {weight:g}")
            remove_model_lora(modules)
            print(path.stem, weight, flush=True)
    pictures = arguments.base + len(arguments.lora) * len(WEIGHTS) * arguments.pictures
    rows = {"to draw": JUDGE_SETTINGS.rows(1, 0).total, "to judge": JUDGE_SETTINGS.rows(0, 1).total}
    result = {"seed": arguments.seed, "pictures": pictures, "rows per picture": rows, **report(study.answers)}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
