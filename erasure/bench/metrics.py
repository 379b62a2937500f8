"""Figures that a bench may measure beside recognition: what each is, and what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from erasure.errors import ConfigError

if TYPE_CHECKING:
    from erasure.bench.suite import SuiteOptions

METRICS = {
    "clip": "CLIP score of the pictures with their prompts (extra metrics, and --clip-model)",
    "clip-drop": "how much of the CLIP score erasing costs, the paper's delta(c) (extra metrics, and --clip-model)",
    "lpips": "distance of each picture from the same one before (extra metrics, and AlexNet's weights)",
    "fid": "Frechet distance of the pictures after from those before (extra metrics, and Inception's weights)",
    "nudity": "NER, the share of pictures with an exposed part of the body, at four thresholds (extra nudity)",
}


def check_metrics(options: SuiteOptions) -> None:
    """Raises: ConfigError with every metric that is not there, or that the other options give no chance."""
    problems = [
        f"--metrics: there is no metric {name!r}; there are {', '.join(METRICS)}"
        for name in options.metrics
        if name not in METRICS
    ]
    problems += [
        f"--clip-model: metric {name!r} needs the folder of a CLIP model"
        for name in options.metrics
        if name.startswith("clip") and name in METRICS and not options.clip_model
    ]
    if "fid" in options.metrics and options.limit == 1:
        problems.append("--limit: metric 'fid' compares groups of pictures, so that 2 are the least, not 1")
    if problems:
        raise ConfigError(problems)
