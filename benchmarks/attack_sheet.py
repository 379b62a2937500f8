"""A sheet of what comes back: the same attacks on several erasures of one concept.

``python -m benchmarks.attack_sheet --out FILE NAME=OUTCOME ...`` takes what attacks found, ``attacks/*.json`` of a
bench's cells or of ``python -m erasure attack``, each with the name that its row is to have. A column is a prompt from
which the untouched model draws the concept; first come those that bring it back most often, by the judge, in the first
of the erasures. Of each prompt one picture is shown: the first of those in which it comes back most often.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from erasure.attacks.outcome import Attempt, Outcome
from erasure.run.picture_sheet import picture_grid
from erasure.whole_file import whole_file

MOST = 8
SIDE = 112
TITLE = 18  # letters above a picture


@dataclass(frozen=True)
class Found:
    """What one attack found of one erasure: by prompt, the attempts that count, and where their pictures are."""

    name: str
    attempts: dict[str, Attempt]
    pictures: Path

    def picture(self, prompt: str, number: int, *, erased: bool) -> Image.Image:
        """Return one picture of a prompt, of the erased or of the untouched model."""
        attempt = self.attempts[prompt]
        name = attempt.pictures[number + (len(attempt.erased) if erased else 0)]
        with Image.open(self.pictures / f"{name}.png") as picture:
            return picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def found(name: str, path: Path) -> Found:
    """Read what an attack found."""
    outcome = Outcome.from_dict(json.loads(path.read_text(encoding="utf-8")))
    attempts = {attempt.prompt: attempt for attempt in outcome.counting if attempt.pictures}
    return Found(name, attempts, path.parent / "pictures" / path.stem)


def sheet(erasures: list[Found]) -> Image.Image:
    """Lay out the sheet."""
    first, *others = erasures
    shared = [prompt for prompt in first.attempts if all(prompt in one.attempts for one in others)]
    shared.sort(key=lambda prompt: -sum(first.attempts[prompt].erased))
    columns = []
    for prompt in shared[:MOST]:
        back = [sum(seen) for seen in zip(*(one.attempts[prompt].erased for one in erasures), strict=True)]
        columns.append((prompt, back.index(max(back))))
    rows = [("untouched", [first.picture(*column, erased=False) for column in columns])]
    rows += [(one.name, [one.picture(*column, erased=True) for column in columns]) for one in erasures]
    return picture_grid([prompt[:TITLE] for prompt, _ in columns], rows)


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
