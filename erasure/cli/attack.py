"""``python -m erasure attack``: try to get back what a LoRA file erases, and say how often it succeeds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from erasure.cli.flags import Commands, add_command, add_lora_flags, add_model_flags, lora_settings, opening_of
from erasure.cli.numbers import MOST_SEED, whole
from erasure.cli.printable import printable
from erasure.cli.stages import with_stages
from erasure.console import json_text
from erasure.errors import ConceptError, RunError
from erasure.model.device import default_device

if TYPE_CHECKING:
    from erasure.attacks.attack_settings import AttackSettings
    from erasure.attacks.witness import Classify
    from erasure.concepts.other_words import OtherWords
    from erasure.verdict.measurement import MeasureTask

_STOPPED = 130


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "attack", "try to get back what a LoRA erases, and say how often it succeeds")
    add_model_flags(parser)
    add_lora_flags(parser)
    add = parser.add_argument
    add("--attacks", default="words,search,inversion,finetune", metavar="A,B",
        help="attacks to make: words (other words, spellings and prompts), search (words that are searched for), "
        "inversion (words that are learnt), finetune (training on eight pictures) (default: all)")  # fmt: skip
    add("--rows", type=int, default=6000, metavar="N", help="U-Net rows that the search may take (default: 6000)")
    add("--seed", type=whole(0, MOST_SEED), default=0, metavar="N",
        help="seed of misspellings and of what is learnt (default: 0)")  # fmt: skip
    add("--table", type=Path, metavar="FILE.json",
        help="other words for concepts, in the form of erasure/data/other_words.json")  # fmt: skip
    add("--classifier", type=Path, metavar="FILE",
        help="a second opinion beside the judge's: a classifier file like emoji-SD's")  # fmt: skip
    add("--out", type=Path, metavar="FOLDER",
        help="where figures and pictures go; started again, it goes on there (default: attacks/NAME)")  # fmt: skip
    add("--dry-run", action="store_true", help="say what it costs, and attack nothing")
    add("--json", action="store_true", help="print everything that was found as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print how often each attack succeeds; everything else goes to stderr, so that stdout can be read by programs."""
    from erasure.attacks.attack_settings import AttackSettings
    from erasure.concepts.other_words import read_other_words
    from erasure.config.presets import preset
    from erasure.verdict.measurement import measure_task

    attacks = tuple(name.strip() for name in arguments.attacks.split(",") if name.strip())
    settings = AttackSettings(attacks, arguments.seed, search_rows=arguments.rows)
    tables = [read_other_words(arguments.table)] if arguments.table else []
    tables.append(read_other_words())
    usual = preset(arguments.preset).settings
    task = measure_task(
        arguments.checkpoint,
        arguments.lora,
        lora_settings(arguments),
        arguments.weight,
        usual=usual,
        opening=opening_of(arguments),
    )
    for line in _cost(task, settings, tables):
        print(line, file=sys.stderr)
    return 0 if arguments.dry_run else _besiege(arguments, task, settings, tables)


def _cost(task: MeasureTask, settings: AttackSettings, tables: list[dict[str, OtherWords]]) -> list[str]:
    """Return what the attacks cost, for people."""
    from erasure.attacks.row_count import siege_rows
    from erasure.concepts.other_words import words_for
    from erasure.concepts.wordings import NEIGHBOURS, wordings

    near = [f"near {i}" for i in range(NEIGHBOURS)]
    names = task.config.synonym
    texts = [w for concept in task.config.erase for w in wordings(concept, names, near, words_for(concept, *tables))]
    rows = siege_rows(task.config, settings, len(texts))
    each = ", ".join(f"{name} {found.total:,.0f}" for name, found in rows.items())
    total, gradient = sum(r.total for r in rows.values()), sum(r.gradient for r in rows.values())
    return [f"at most about {total:,.0f} U-Net rows, {gradient:,.0f} of them with gradients: {each}"]


def _besiege(
    arguments: argparse.Namespace, task: MeasureTask, settings: AttackSettings, tables: list[dict[str, OtherWords]]
) -> int:
    from erasure.attacks.report import lines
    from erasure.attacks.siege import Siege, besiege

    folder = arguments.out or Path("attacks") / arguments.lora.stem
    if folder.exists() and not folder.is_dir():
        raise RunError(f"--out: {folder} is a file; name a folder")
    classifier, name = _classifier(arguments.classifier)
    device = arguments.device or default_device()
    siege = Siege(task, settings, folder, tuple(tables), classifier, name, device=device)
    try:
        report = with_stages(besiege(siege))
    except KeyboardInterrupt:
        print(f"stopped; the attacks that ended are kept in {folder}: the same command goes on there", file=sys.stderr)
        return _STOPPED
    if not report.outcomes:
        raise ConceptError(f"{report.notes[-1]}; name another concept")
    for note in report.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    if arguments.json:
        print(json_text(report.to_dict()))
    else:
        for line in lines(report):
            print(printable(line))
    print(f"figures and pictures: {folder}", file=sys.stderr)
    return 0


def _classifier(path: Path | None) -> tuple[Callable[[str], Classify | None], str]:
    """Return what makes a second opinion on a concept, and what tells it from others.

    Raises: EvaluationError for a bad file.
    """
    if path is None:
        return lambda concept: None, ""
    from emoji_sd.classifier import load_classifier
    from erasure.attacks.second_opinion import second_opinion
    from erasure.file_hashes import sha256_of_files

    judge = load_classifier(path)
    return second_opinion(judge.concept_ranks, judge.concepts), sha256_of_files([path])
