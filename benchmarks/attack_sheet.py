"""A sheet of what comes back: the same attacks on several erasures of one concept.

``python -m benchmarks.attack_sheet --out FILE NAME=OUTCOME ...`` takes what attacks found, ``attacks/*.json`` of a
bench's cells or of ``python -m erasure attack``, each with the name that its row is to have. A column is a prompt from
which the untouched model draws the concept; first come those that bring it back most often, by the judge, in the first
of the erasures. Of each prompt one picture is shown: the first of those in which it comes back most often.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from erasure.attacks.archive import Archive
from erasure.attacks.outcome import Attempt
from erasure.attacks.sheet import small_picture, title
from erasure.run.picture_sheet import picture_grid
from erasure.whole_file import whole_file

MOST = 8


@dataclass(frozen=True)
class Found:
    """What one attack found of one erasure: by prompt, the attempts that count, and where their pictures are."""

    name: str
    attempts: dict[str, Attempt]
    pictures: Path


def found(name: str, path: Path) -> Found:
    """Read what an attack found. Raises: SystemExit if there is no such file; RunError if it is damaged."""
    if not path.is_file():
        raise SystemExit(f"{path}: there is no such file; give what attacks found, as NAME=OUTCOME")
    archive = Archive(path.parent, None, None)
    outcome = archive.outcome(path.stem)
    counting = () if outcome is None else outcome.counting
    attempts = {attempt.prompt: attempt for attempt in counting if attempt.pictures}
    return Found(name, attempts, archive.pictures(path.stem))


def sheet(erasures: list[Found]) -> Image.Image:
    """Lay out the sheet."""
    first, *others = erasures
    shared = [prompt for prompt in first.attempts if all(prompt in one.attempts for one in others)]
    shared.sort(key=lambda prompt: -sum(first.attempts[prompt].erased))
    columns = []
    for prompt in shared[:MOST]:
        back = [sum(seen) for seen in zip(*(one.attempts[prompt].erased for one in erasures), strict=True)]
        columns.append((prompt, back.index(max(back))))

    def row(one: Found, *, erased: bool) -> list[Image.Image]:
        return [small_picture(one.pictures, one.attempts[prompt], at, erased=erased) for prompt, at in columns]

    rows = [("untouched", row(first, erased=False)), *((one.name, row(one, erased=True)) for one in erasures)]
    return picture_grid([title(first.attempts[prompt]) for prompt, _ in columns], rows)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a file for the sheet")
    parser.add_argument("found", nargs="+", metavar="NAME=OUTCOME", help="the name of a row, and what attacks found")
    args = parser.parse_args()
    named = [text.partition("=") for text in args.found]
    with whole_file(args.out) as temporary:
        sheet([found(name, Path(path)) for name, _, path in named]).save(temporary, format="JPEG", quality=88)


if __name__ == "__main__":
    main()
