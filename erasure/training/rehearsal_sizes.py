"""How many words are rehearsed in turn. Needs no torch."""

from __future__ import annotations

# So many, and so many more for each target. A third of them is near a target.
WORDS, WORDS_PER_TARGET = 16, 8
NEAR_SHARE = 1 / 3
