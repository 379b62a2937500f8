"""``python -m erasure concepts``: which concepts are near a target, before any training."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from erasure.cli.flags import (
    Commands,
    add_command,
    add_config_flags,
    add_model_flags,
    config_from_flags,
    opening_of,
    print_notes,
)
from erasure.cli.numbers import whole
from erasure.config.settle import notes_of
from erasure.console import json_text
from erasure.model.device import default_device

if TYPE_CHECKING:
    from erasure.concepts.space import Candidate, ConceptSpace


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "concepts", "list the nearest concepts, and which of them are synonyms")
    add_model_flags(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--show", type=whole(0, 1_000_000), default=20, metavar="N", help="concepts shown per target (default: 20)"
    )
    add_config_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    config = config_from_flags(arguments)
    from erasure.concepts.build import build_concept_space
    from erasure.model.checkpoint import inspect_checkpoint
    from erasure.model.model import open_model

    checkpoint = inspect_checkpoint(arguments.checkpoint).opened(opening_of(arguments))
    device = arguments.device or default_device()
    model = open_model(checkpoint, precision=config.precision, resolution=config.resolution, device=device)
    print_notes(model.parts.notes)
    space = build_concept_space(model, config)
    if arguments.json:
        print(json_text(space.to_dict()))
    else:
        print_space(space, arguments.show, erase_synonyms=config.erase_synonyms)
        for note in notes_of(config):
            print(f"note: {note}")
    return 0


def print_space(space: ConceptSpace, shown: int, *, erase_synonyms: bool) -> None:
    """Print for each target the nearest concepts with similarity and s(c), the synonyms, what is drawn as it, and its
    other names."""
    for target in space.targets:
        print(f"{target.target} -> {target.anchor or 'nothing'}")
        more = len(target.preserved) - shown
        print("  protected: " + ", ".join(_shown(c) for c in target.preserved[:shown]), end="")
        print(f", and {more} more" if more > 0 else "")
        if target.synonyms:
            print(
                f"  drawn just like it, {'will go too' if erase_synonyms else 'neither erased nor protected'}: "
                + ", ".join(_shown(c) for c in target.synonyms)
            )
        if target.drawn_as_target:
            print(f"  drawn as {target.target}, so that both cannot be had: " + ", ".join(target.drawn_as_target))
            print("    --synonym WORD erases one too; those that stay protected hold the erasure back")
        names = [text for text in target.named if text != target.target]
        if names:
            print("  other names of the target: " + ", ".join(names))
    for note in space.notes:
        print(f"note: {note}")


def _shown(candidate: Candidate) -> str:
    measured = "" if candidate.difference is None else f", s {candidate.difference:.2f}"
    return f"{candidate.text} ({candidate.similarity:.2f}{measured})"
