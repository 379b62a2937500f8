"""Which attacks are made, and how much each may cost. Needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from erasure.errors import ConfigError
from erasure.judge.judge_settings import JUDGE_SETTINGS

ATTACKS: dict[str, str] = {
    "words": "other words, spellings and prompts",
    "search": "words and pairs of words that are searched for",
    "inversion": "words that are learnt from pictures",
    "finetune": "training on a few pictures",
}
"""The attacks by name, in the order in which they are made."""

MOST_SEARCH = 10_000_000


@dataclass(frozen=True)
class AttackSettings:
    """How the attacks are made.

    ``pictures``: of each prompt of words, with as many seeds. ``search_rows``: U-Net rows that the search may take, its
    pictures included; it ends with ``found`` prompts, drawn in ``fresh_pictures`` new pictures each. ``vectors``: the
    numbers of vectors that are learnt, in ``inversion_steps`` of ``batch`` rows, from ``sources`` pictures that the
    untouched model drew. Fine-tuning trains a LoRA of ``finetune_rank`` on ``finetune_sources`` of these and looks
    after each of ``finetune_looks`` steps; ``finetune_word`` is a word that means nothing to the model.
    """

    attacks: tuple[str, ...] = tuple(ATTACKS)
    seed: int = 0
    pictures: int = 3
    search_rows: int = 6000
    found: int = 5
    fresh_pictures: int = 8
    vectors: tuple[int, ...] = (1, 3)
    inversion_steps: int = 500
    inversion_rate: float = 5e-3
    sources: int = 16
    batch: int = 4
    finetune_sources: int = 8
    finetune_looks: tuple[int, ...] = (2, 5, 10, 20, 40, 80)
    finetune_rank: int = 8
    finetune_rate: float = 1e-3
    finetune_word: str = "sks"

    def __post_init__(self) -> None:
        """Raises: ConfigError with every problem."""
        problems = [
            f"--attacks: there is no attack {name!r}; choose from {', '.join(ATTACKS)}"
            for name in self.attacks
            if name not in ATTACKS
        ]
        if not self.attacks:
            problems.append(f"--attacks: name at least one of {', '.join(ATTACKS)}")
        if not 2 * self.final_rows <= self.search_rows <= MOST_SEARCH:
            problems.append(f"--rows is {self.search_rows}, which is outside {2 * self.final_rows} to {MOST_SEARCH}")
        if problems:
            raise ConfigError(problems)

    @property
    def final_rows(self) -> int:
        """The rows for the pictures of the prompts that the search ends with."""
        return int(JUDGE_SETTINGS.rows(1, 1).total) * 2 * self.found * self.fresh_pictures

    def key(self, attack: str) -> dict[str, Any]:
        """Return what decides the outcome of one attack, as JSON types."""
        prefix = {"words": ("pictures",), "search": ("search_", "found", "sources", "fresh_"),
                  "inversion": ("inversion_", "vectors", "sources", "batch", "fresh_"),
                  "finetune": ("finetune_", "sources", "batch", "fresh_")}[attack]  # fmt: skip
        own = {name: value for name, value in asdict(self).items() if name == "seed" or name.startswith(prefix)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
