"""Which thread of this process may use the device: a job, or a look at concepts. Hosts know of their own only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from erasure.errors import JobConflict

CONCEPTS = "concepts"


class Gate:
    """Jobs wait for it; a look at concepts does not wait for a job, which may take hours."""

    def __init__(self, changed: Condition, name_of: Callable[[str], str]):
        """``name_of``: the name of the job with an id."""
        self._changed = changed
        self._name_of = name_of
        self._holder = ""

    @contextmanager
    def held(self, who: str) -> Iterator[None]:
        """``who``: a job's id, or ``CONCEPTS``. Raises: JobConflict."""
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
