"""What a score means on the model at hand: calibrated from the model's own pictures, since scales differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

# A picture shows a concept if its score lies at least this far from pictures of other things to the concept's own.
CUT = 0.5
# The model tells a concept from others only if their mean scores are at least this far apart: half of the distance
# between a prompt that is fulfilled without any guidance (1) and one that is as likely as not (0).
LEAST_DISTANCE = 0.5
# A word is drawn as a concept if the concept is recognised in more than this share of the word's pictures.
SAME_SHARE = 0.5


@dataclass(frozen=True)
class Scale:
    """The mean score of the frozen model's own pictures of a concept, ``present``, and of other things, ``absent``."""

    present: float
    absent: float

    @classmethod
    def of(cls, present: Sequence[float], absent: Sequence[float]) -> Scale:
        """Make the scale from scores, at least one of each."""
        return cls(fmean(present), fmean(absent))

    @property
    def tells(self) -> bool:
        """Whether the model can tell the concept from other things at all."""
        return self.present - self.absent >= LEAST_DISTANCE

    def level(self, score: float) -> float:
        """Return 1 for a score like that of the concept's own pictures, 0 for one like that of other things.

        0 for every score if the model cannot tell them apart.
        """
        return (score - self.absent) / (self.present - self.absent) if self.tells else 0.0

    def shows(self, score: float) -> bool:
        """Return whether a picture with this score shows the concept."""
        return self.level(score) >= CUT

    def shows_most(self, scores: Sequence[float]) -> bool:
        """Return whether the concept is shown in more than :data:`SAME_SHARE` of the pictures with these scores."""
        return sum(map(self.shows, scores)) > SAME_SHARE * len(scores)
