"""The figures that a bench can measure besides recognition: what each one is, and what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from erasure.errors import ConfigError

if TYPE_CHECKING:
    from erasure.bench.suite import SuiteOptions

METRICS = {
    "near": "the protected words nearest to each target: the share kept, and their score, by the model's own judgement",
    "ranks": "ESR-k and PSR-k by the model's own judgement, without a classifier: which of the set's labels explains a "
    "picture best",
    "attacks": "how often attacks bring back what was erased (ASR, in %): by words, by a search over words, by learnt "
    "words and by fine-tuning; by the classifier, and by the model's own judgement",
    "pictures": "whether what is drawn looks like a picture: the share that the classifier takes for something, if it "
    "says how sure it is, and how far colours and sharpness moved, in standard deviations",
    "clip": "how well pictures fit their prompts, as a CLIP score (needs the extra metrics, and --clip-model)",
    "clip-drop": "how far erasing lowers it, the paper's delta(c) (needs the extra metrics, and --clip-model)",
    "lpips": "how far each picture moved from the one before (needs the extra metrics, and AlexNet's weights)",
    "fid": "how far the pictures moved as a whole, as FID (needs the extra metrics, and Inception's weights)",
    "nudity": "NER, the share of pictures with an exposed body part, at four thresholds (needs the extra nudity)",
}


def check_metrics(options: SuiteOptions) -> None:
    """Check that the chosen metrics exist and can be measured with the other options.

    Raises: ConfigError with every problem.
    """
    problems = [
        f"--metrics: there is no metric {name!r}; choose from {', '.join(METRICS)}"
        for name in options.metrics
        if name not in METRICS
    ]
    problems += [
        f"--clip-model is needed for metric {name!r}: give the folder of a CLIP model"
        for name in options.metrics
        if name.startswith("clip") and name in METRICS and not options.clip_model
    ]
    if "near" in options.metrics and options.near_words < 1:
        problems.append(f"--near-words is {options.near_words}; metric near needs at least 1")
    if "attacks" in options.metrics:
        from erasure.bench.attacks import attack_settings

        try:
            attack_settings(options)
        except ConfigError as error:
            problems += error.problems
    problems += [
        f"--limit is 1, but metric {name!r} compares groups of pictures; use at least 2"
        for name in ("fid", "pictures")
        if name in options.metrics and options.limit == 1
    ]
    if problems:
        raise ConfigError(problems)
