"""One tree of errors. Every message says what happened, what was given and what to do.

::

    EraseError
    ├── ConfigError          a setting is unknown, out of range or contradicts another (all problems at once)
    ├── CheckpointError      the base checkpoint cannot be used
    │   ├── BrokenCheckpoint       the file is damaged, truncated or no weights file at all
    │   └── UnsupportedCheckpoint  the file is fine, but not a text-to-image model of a supported family
    ├── ConceptError         a target, anchor or vocabulary cannot be used
    ├── TrainingError        training had to stop
    │   ├── NonFiniteLoss          a loss or gradient became NaN or infinite
    │   └── OutOfMemory            the device ran out of memory
    ├── LoraFileError        a LoRA file cannot be read, or does not fit the model
    │   └── IneffectiveLora        it loads, but changes nothing
    ├── EvaluationError      a metric or a bench cannot be computed
    │   └── MissingExtra           an optional package, or the model file that it needs, is not there
    └── RunError             the run folder or the output file is in the way, missing or does not fit
        ├── OutputExists           a file of that name exists and may not be overwritten
        ├── JobNotFound            there is no such job, or none of its files
        └── JobConflict            a job is in a state in which this cannot be done
"""

from __future__ import annotations

from collections.abc import Iterable


class EraseError(Exception):
    """Root of all errors that this package raises on purpose."""


class ConfigError(EraseError):
    """Settings that cannot be used; ``problems`` lists every one of them."""

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class CheckpointError(EraseError):
    """The base checkpoint cannot be used."""


class BrokenCheckpoint(CheckpointError):
    """The file is damaged, truncated, or holds no weights."""


class UnsupportedCheckpoint(CheckpointError):
    """The file is sound, but not a text-to-image model of a supported family; the message names what it is."""


class ConceptError(EraseError):
    """A target, anchor or vocabulary cannot be used."""


class TrainingError(EraseError):
    """Training had to stop; the last good state is kept."""


class NonFiniteLoss(TrainingError):
    """A loss or gradient became NaN or infinite."""


class OutOfMemory(TrainingError):
    """The device ran out of memory."""


class LoraFileError(EraseError):
    """A LoRA file cannot be read, or does not fit the model."""


class IneffectiveLora(LoraFileError):
    """The LoRA file loads, but changes nothing."""


class EvaluationError(EraseError):
    """A metric or a bench cannot be computed."""


class MissingExtra(EvaluationError):
    """An optional package, or the model file that it needs, is not there; the message names both."""


class RunError(EraseError):
    """A run folder or output file is in the way, missing, or does not fit."""


class OutputExists(RunError):
    """A file of that name exists and may not be overwritten."""


class JobNotFound(RunError):
    """There is no such job, or it has no such file."""


class JobConflict(RunError):
    """A job is in a state in which what was asked cannot be done."""
