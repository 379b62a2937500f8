"""``python -m erasure spectrum``: which words a LoRA moved, and how far."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from erasure.cli.flags import Commands, add_command, add_model_flags, opening_of, print_notes
from erasure.errors import ConfigError
from erasure.model.device import default_device


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "spectrum", "list the words whose predicted noise a LoRA changes most")
    add_model_flags(parser)
    add = parser.add_argument
    add("--lora", type=Path, required=True, metavar="FILE", help="the LoRA file")
    add("--word", action="append", metavar="TEXT", help="a word to measure; repeat for several (default: common words)")
    add(
        "--words", type=int, default=200, metavar="N", help="how many of the common words, evenly spaced (default: 200)"
    )
    add(
        "--states",
        type=int,
        default=4,
        metavar="N",
        help="states of each word's own trajectory to measure on (default: 4)",
    )
    add("--show", type=int, default=30, metavar="N", help="number of words printed (default: 30)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    problems = [
        f"--{n}: {getattr(arguments, n)} is less than 1"
        for n in ("words", "states", "show")
        if getattr(arguments, n) < 1
    ]
    if problems:
        raise ConfigError(problems)
    from erasure.concepts.vocabulary import WORDS, read_words
    from erasure.evaluate.spectrum import Sensitivity, sensitivity_spectrum
    from erasure.lora.file import read_lora
    from erasure.lora.model_adapter import apply_lora_file
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.model.model import open_model
    from erasure.spread import spread

    checkpoint, file = inspect_checkpoint(arguments.checkpoint).opened(opening_of(arguments)), read_lora(arguments.lora)
    model = open_model(checkpoint, device=arguments.device or default_device())
    print_notes(model.parts.notes)
    apply_lora_file(model.parts.modules, file)
    words = arguments.word or spread(read_words(WORDS), arguments.words)
    found: list[Sensitivity] = []
    for one in sensitivity_spectrum(model, words, states=arguments.states):
        found.append(one)
        if len(found) % 50 == 0:
            print(f"{len(found)}/{len(words)}", file=sys.stderr)
    found.sort(key=lambda one: one.share, reverse=True)
    print("change of the predicted noise, relative to what the word itself adds to it (1 = as without the word)")
    for one in found[: arguments.show]:
        print(f"{one.share:8.3f}  {one.change:10.2e}  {one.text}")
    middle = found[len(found) // 2]
    print(f"median of {len(found)} words: {middle.share:.3f} ({middle.text})")
    return 0
