"""Erase five of the paper's ten doubles at once from emoji-SD; measure the ten and fifteen more, before and after.

``python -m benchmarks.five_doubles --out DIR [config flags]`` writes ``results.json``, ``table.md`` and
``pictures.png``. ESR-k is the share of pictures of erased concepts in which the concept is not among the classifier's
first k; PSR-k is the share of pictures of kept concepts in which it is (Bui et al. 2024, Section 4.1). The synonyms of
the erased concepts are not given, but found by measurement.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from PIL import Image

from emoji_sd import MODEL, load_classifier
from emoji_sd.captions import measured_caption
from emoji_sd.classifier import Judge
from emoji_sd.concepts import PAPER_TEN, STYLES
from erasure.bench.emoji import outside_concepts
from erasure.cli.flags import add_config_flags, given_settings
from erasure.config.presets import preset
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import draw_pictures, run_to_end
from erasure.run.picture_sheet import picture_grid
from erasure.training.events import Note, Step
from erasure.training.session import Session, open_session

ERASED = ("church", "truck", "radio", "parachute", "trumpet")
SEEDS = (11, 12)


def kept_concepts() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the other five of the ten, and fifteen more, evenly spaced over the list of all others."""
    other = tuple(name for name in PAPER_TEN if name not in ERASED)
    return other, outside_concepts()


def pictures(session: Session, names: tuple[str, ...]) -> list[Image.Image]:
    """Draw every name in every style with every seed."""
    prompts = [measured_caption(name, style) for name in names for style in STYLES for _ in SEEDS]
    drawing = DrawSettings(steps=20, guidance=4.0, batch=32)
    seeds = SEEDS * (len(prompts) // len(SEEDS))
    return draw_pictures(session.model, prompts, seeds, drawing)


def recognised(judge: Judge, drawn: list[Image.Image], names: tuple[str, ...], k: int) -> float:
    """Return the share of pictures, in %, whose concept is among the classifier's first k."""
    every = [name for name in names for _ in range(len(STYLES) * len(SEEDS))]
    ranks = judge.concept_ranks(drawn, every)
    return 100 * sum(rank < k for rank in ranks) / len(ranks)


def table(before: dict[str, float], after: dict[str, float]) -> str:
    """Return the Markdown table of both rows of figures."""
    lines = ["| | " + " | ".join(before) + " |", "|---" * (len(before) + 1) + "|"]
    for label, row in (("emoji-SD", before), ("five erased", after)):
        lines.append(f"| {label} | " + " | ".join(f"{value:.1f}" for value in row.values()) + " |")
    return "\n".join(lines) + "\n"


def measure(session: Session, judge: Judge) -> tuple[dict[str, float], dict[str, list[Image.Image]]]:
    """Draw with the U-Net as it is now, and judge; return the figures, and the pictures by group."""
    other, more = kept_concepts()
    drawn = {
        "erased": pictures(session, ERASED),
        "other": pictures(session, other),
        "more": pictures(session, more),
    }
    figures = {}
    for k in (1, 5):
        figures[f"ESR-{k}"] = 100 - recognised(judge, drawn["erased"], ERASED, k)
    for name, names in (("other", other), ("more", more)):
        for k in (1, 5):
            label = "PSR" if name == "other" else "fifteen more, top"
            figures[f"{label}-{k}"] = recognised(judge, drawn[name], names, k)
    return figures, drawn


def train(session: Session) -> float:
    """Train to the end; return the seconds that it took."""
    seconds = 0.0
    for event in session.trainer:
        if isinstance(event, Note):
            print(event.text, flush=True)
        if not isinstance(event, Step):
            continue
        seconds = event.seconds
        if event.step % 50 == 0:
            losses = f"erase {event.erase_loss:.4f} preserve {event.preserve_loss:.4f}"
            print(f"{event.step}/{event.steps} {losses}", flush=True)
    return seconds


def run(config: EraseConfig, out: Path) -> None:
    """Erase with ``config``, measure before and after, and write everything to ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    judge = load_classifier()
    began = time.perf_counter()
    session = open_session(inspect_checkpoint(MODEL), config, "cpu")
    prepared = time.perf_counter() - began
    if session.examination is not None:
        run_to_end(session.examination.before())
        session.steer()
    with session.model.frozen():
        before, drawn_before = measure(session, judge)
    seconds = train(session)
    trained = session.model.rows["training"].total
    after, drawn_after = measure(session, judge)
    results = {
        "config": config.to_dict(),
        "seeds": SEEDS,
        "before": before,
        "after": after,
        "updates": session.trainer.step,
        "rows_per_update": trained / session.trainer.step,
        "rows_looks": session.model.rows["looks"].total,
        "rows_calibration": session.model.rows["verdict"].total,
        "rows_training": trained,
        "rows_setup": session.plan.rows_setup,
        "rows_start": session.model.rows["start"].total,
        "seconds_setup": prepared,
        "seconds_training": seconds,
        "synonyms": {t.target: [c.text for c in t.synonyms] for t in session.space.targets},
    }
    (out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (out / "table.md").write_text(table(before, after), encoding="utf-8")
    names = {"erased": ERASED, "other": kept_concepts()[0]}
    per = len(STYLES) * len(SEEDS)
    columns = [f"{when}, {style}" for when in ("before", "after") for style in STYLES]
    grid = []
    for part, concepts in names.items():
        for i, name in enumerate(concepts):
            take = slice(i * per, (i + 1) * per, len(SEEDS))
            grid.append((name, [*drawn_before[part][take], *drawn_after[part][take]]))
    picture_grid(columns, grid).save(out / "pictures.png")
    print(table(before, after))
    print(f"{results['rows_per_update']:.1f} rows per update, {seconds:.0f} s of training")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add_config_flags(parser)
    arguments = parser.parse_args()
    start = preset(arguments.preset or "object").settings
    run(config_from_dict({"erase": ERASED, **start, **given_settings(arguments)}), arguments.out)


if __name__ == "__main__":
    main()
