"""The cover of a LoRA, shown where files are chosen: a few pictures of its run, without words or background."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from PIL import Image

from erasure.run.preview import BeforeAfter

_ROWS = 3
_GAP = 6
# Concepts, as whole words, of which nobody wants to see pictures in a list of files.
_UNSAFE = re.compile(
    r"\b(nsfw|nud(e|es|ity|ism|ist)|naked|topless|bottomless|undressed|porno?|pornograph\w*|hentai|erotic\w*|sex|sexual\w*"
    r"|explicit|genital\w*|penis|vagina|breasts?|nipples?|gore|gory|blood(y|ied|shed|stained)?|corpses?|violen\w*|mutilat\w*|suicid\w*"
    r"|self[- ]harm|unsafe|harassment|hate|abuse|illegal|shocking)\b",
    re.IGNORECASE,
)


def is_unsafe(concepts: Iterable[str]) -> bool:
    """Return whether one of the erased concepts is unsafe content, judged by its name."""
    return any(_UNSAFE.search(concept) for concept in concepts)


def cover_picture(rows: Sequence[BeforeAfter], *, after_only: bool = False) -> Image.Image:
    """Lay out pictures of a run's first subjects: before on the left, after on the right, a transparent gap between.

    ``after_only``: only pictures from after, seed by seed.
    """
    shown = [row.after if after_only else (row.before[0], row.after[0]) for row in rows[:_ROWS]]
    side = shown[0][0].width
    width, height = (count * (side + _GAP) - _GAP for count in (len(shown[0]), len(shown)))
    cover = Image.new("RGBA", (width, height))
    for j, pictures in enumerate(shown):
        for i, picture in enumerate(pictures):
            cover.paste(picture, (i * (side + _GAP), j * (side + _GAP)))
    return cover
