"""Which thread of this process may use the device: a job, or one of the errands. A host knows only its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

from erasure.errors import JobConflict

# Who is no job: looking for nearby concepts, measuring a LoRA, combining several, and baking into a checkpoint.
CONCEPTS, LORA, COMBINE, BAKE = "concepts", "lora", "combine", "bake"
UPLOAD = "upload"  # needs no device, and has a gate of its own
_ERRANDS = {
    CONCEPTS: "nearby concepts are being looked for on the device",
    LORA: "a LoRA is being measured on the device",
    COMBINE: "LoRAs are being combined",
    BAKE: "a checkpoint is being baked",
    UPLOAD: "a LoRA is being uploaded",
}


class Gate:
    """Lets one through at a time. Jobs wait; the others are refused, for a job may take hours."""

    def __init__(self, changed: Condition, name_of: Callable[[str], str]):
        """``name_of`` returns the name of the job with an id."""
        self._changed = changed
        self._name_of = name_of
        self._holder = ""

    @contextmanager
    def held(self, who: str) -> Iterator[None]:
        """Hold the device for ``who``, see :meth:`take`. Raises: JobConflict."""
        self.take(who)
        try:
            yield
        finally:
            self.free()

    def take(self, who: str) -> None:
        """Take the device for ``who``, a job's id or the name of an errand, such as ``BAKE``; any thread may free it.

        Raises: JobConflict if one that is no job meets anything.
        """
        with self._changed:
            while self._holder:
                if who in _ERRANDS:
                    raise JobConflict(self._in_the_way())
                self._changed.wait()
            self._holder = who

    def free(self) -> None:
        with self._changed:
            self._holder = ""
            self._changed.notify_all()

    def _in_the_way(self) -> str:
        if self._holder in _ERRANDS:
            return f"{_ERRANDS[self._holder]}: cancel that, or wait until it ends"
        return f"{self._name_of(self._holder)} is using the device: pause it, or wait until it ends"
