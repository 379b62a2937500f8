"""The plan: what a run will do, said before it starts. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from erasure.concepts.space import ConceptSpace


@dataclass(frozen=True)
class Plan:
    """What a run will train, and on which concepts.

    ``decided`` are the settings that were not asked for and are not the defaults: the method decides them.
    """

    layers: int
    parameters: int  # of the LoRA
    rank: int
    updates: int
    rows_per_update: float  # U-Net rows, on average
    rows_setup: int  # already spent on measuring synonyms
    space: ConceptSpace
    decided: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Undo :func:`dataclasses.asdict`, through JSON as well. Raises: KeyError, TypeError, ValueError."""
        return cls(
            layers=int(values["layers"]),
            parameters=int(values["parameters"]),
            rank=int(values["rank"]),
            updates=int(values["updates"]),
            rows_per_update=float(values["rows_per_update"]),
            rows_setup=int(values["rows_setup"]),
            space=ConceptSpace.from_dict(values["space"]),
            decided=dict(values.get("decided", {})),
        )
