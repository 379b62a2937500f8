"""The package's own errors, one tree. Every message says what happened, what was given and what to do.

::

    EraseError
    ├── ConfigError          a setting is unknown, out of range or contradicts another (all problems at once)
    ├── CheckpointError      the base checkpoint cannot be used
    │   ├── BrokenCheckpoint       the file is damaged, truncated or not a weights file
    │   └── UnsupportedCheckpoint  the file is fine, but not a text-to-image model of a supported family
    ├── ConceptError         a target, anchor or vocabulary cannot be used
    ├── TrainingError        training had to stop
    │   ├── NonFiniteLoss          a loss or gradient became NaN or infinite
    │   ├── Diverged               the model got worse than it was at the beginning
    │   └── OutOfMemory            the device ran out of memory
    ├── LoraFileError        a LoRA file cannot be read, or does not fit the model
    │   └── IneffectiveLora        it loads, but changes nothing
    ├── EvaluationError      a metric or a bench cannot be computed
    │   └── MissingExtra           an optional package, or a model file that it needs, is missing
    └── RunError             a run folder or output file is missing, in the way, or of another run
        ├── OutputExists           the file exists, and overwriting it was not asked for
        ├── OutputRefused          nothing can be written there, or not under this name
        ├── JobNotFound            there is no such job, or the job has no such file
        └── JobConflict            the job's state does not allow what was asked for
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

LONGEST = 2000  # characters of a message; names and values in files have no end
_LONGEST_VALUE = 300
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 10


def shown(value: object) -> str:
    """Return the ``repr`` of a value from outside, shortened: it may be of any size and depth."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python writes no integers of thousands of digits
        return f"a value of type {type(value).__name__} and great length"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def one_line(text: str) -> str:
    """Return a message as one line, shortened, that every console can take: "?" for line breaks and for characters
    that control a terminal or that no encoding has, for a message may quote a file that anyone can make."""
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 200]} ... {text[-200:]}"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


class EraseError(Exception):
    """Base class of every error that this package raises on purpose. Its message is one line."""

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))


class ConfigError(EraseError):
    """Settings cannot be used; ``problems`` has one line for each reason."""

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(map(one_line, problems))
        Exception.__init__(self, "\n".join(self.problems))


class CheckpointError(EraseError):
    """The base checkpoint cannot be used."""


class BrokenCheckpoint(CheckpointError):
    """The file is damaged, truncated, or holds no weights."""


class UnsupportedCheckpoint(CheckpointError):
    """The file is fine, but not a text-to-image model of a supported family; the message says what it is."""


class ConceptError(EraseError):
    """A target, anchor or vocabulary cannot be used."""


class TrainingError(EraseError):
    """Training had to stop; the last good state is kept."""


class NonFiniteLoss(TrainingError):
    """A loss or gradient became NaN or infinite."""


class Diverged(TrainingError):
    """Training got worse than it began; the message says what to change."""


class OutOfMemory(TrainingError):
    """The device ran out of memory."""


class LoraFileError(EraseError):
    """A LoRA file cannot be read, or does not fit the model."""


class IneffectiveLora(LoraFileError):
    """The LoRA file loads, but changes nothing."""


class EvaluationError(EraseError):
    """A metric or a bench cannot be computed."""


class MissingExtra(EvaluationError):
    """An optional package, or a model file that it needs, is missing; the message says how to get it."""


class RunError(EraseError):
    """A run folder or output file is missing, in the way, or of another run."""


class OutputExists(RunError):
    """The file exists, and overwriting it was not asked for."""


class OutputRefused(RunError):
    """Nothing can be written at this place, or not under this name."""


class JobNotFound(RunError):
    """There is no such job, or the job has no such file."""


class JobConflict(RunError):
    """The job's state does not allow what was asked for."""
