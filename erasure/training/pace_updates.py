"""When the pace of training is measured. Needs no torch."""

from __future__ import annotations

# Updates, from 1: long enough after the first for LoRA's ``up``, which may begin at 0, to matter.
MEASURED = range(5, 11)
