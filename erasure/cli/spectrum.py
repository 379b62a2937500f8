"""``python -m erasure spectrum``: which words a LoRA changes, and how much."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from erasure.cli.flags import add_model_flags
from erasure.errors import ConfigError
from erasure.model.device import default_device


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("spectrum", help="list the words whose predicted noise a LoRA changes most")
    add_model_flags(parser)
    parser.add_argument("--lora", type=Path, required=True, metavar="FILE", help="the LoRA file to measure")
    parser.add_argument("--word", action="append", metavar="TEXT", help="a word to measure; repeatable (common words)")
    parser.add_argument("--words", type=int, default=200, metavar="N", help="else measure this many common words (200)")
    parser.add_argument("--states", type=int, default=4, metavar="N", help="points of each sampling to measure at (4)")
    parser.add_argument("--show", type=int, default=30, metavar="N", help="how many words to print (30)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    problems = [f"--{n}: should be at least 1" for n in ("words", "states", "show") if getattr(arguments, n) < 1]
    if problems:
        raise ConfigError(problems)
    from erasure.concepts.vocabulary import WORDS, read_words
    from erasure.evaluate.spectrum import Sensitivity, sensitivity_spectrum
    from erasure.evaluate.spread import spread
    from erasure.lora.file import apply_lora_file, read_lora
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.model.model import open_model

    checkpoint, file = inspect_checkpoint(arguments.checkpoint), read_lora(arguments.lora)
    model = open_model(checkpoint, device=arguments.device or default_device())
    apply_lora_file(model.unet, file)
    words = arguments.word or spread(read_words(WORDS), arguments.words)
    found: list[Sensitivity] = []
    for one in sensitivity_spectrum(model, words, states=arguments.states):
        found.append(one)
        if len(found) % 50 == 0:
            print(f"{len(found)}/{len(words)}", file=sys.stderr)
    found.sort(key=lambda one: one.share, reverse=True)
    print("change of the predicted noise: relative to what the word itself adds (1: as if it were left out), absolute")
    for one in found[: arguments.show]:
        print(f"{one.share:8.3f}  {one.change:10.2e}  {one.text}")
    middle = found[len(found) // 2]
    print(f"median of {len(found)} words: {middle.share:.3f} ({middle.text})")
    return 0
