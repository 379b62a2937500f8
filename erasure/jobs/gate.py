"""Which thread of this process may use the device: a job, or a measurement of concepts. A host knows only its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from erasure.errors import JobConflict

CONCEPTS = "concepts"


class Gate:
    """Lets one through at a time. Jobs wait; measuring concepts does not wait for a job, which may take hours."""

    def __init__(self, changed: Condition, name_of: Callable[[str], str]):
        """``name_of`` returns the name of the job with an id."""
        self._changed = changed
        self._name_of = name_of
        self._holder = ""

    @contextmanager
    def held(self, who: str) -> Iterator[None]:
        """Hold the device for ``who``, a job's id or ``CONCEPTS``. Raises: JobConflict if ``CONCEPTS`` meets a job."""
        with self._changed:
            while self._holder:
                if who == CONCEPTS and self._holder != CONCEPTS:
                    raise JobConflict(
                        f"{self._name_of(self._holder)} is using the device: pause it, or wait until it ends"
                    )
                self._changed.wait()
            self._holder = who
        try:
            yield
        finally:
            with self._changed:
                self._holder = ""
                self._changed.notify_all()
