"""Work on the device besides jobs: one piece at a time, in a thread of its own, cancelled by anyone."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Thread

from erasure.host.base import Host
from erasure.jobs.concept_cache import free_memory
from erasure.jobs.gate import Gate
from erasure.jobs.live import logger

End = Callable[[], None]
"""What tells of the end of an errand; called when the device is free again."""


class Errand:
    """Any thread may call any method. ``works``: it holds the device, so that ending the program must wait for it."""

    def __init__(self, host: Host, gate: Gate, changed: Condition):
        self.works = False
        self._host = host
        self._gate = gate
        self._changed = changed
        self._cancelled = False

    def begin(self, name: str, work: Callable[[], End], failed: Callable[[BaseException], End]) -> None:
        """Begin, and return at once. Whoever calls has taken the gate, which is freed at the end.

        ``work`` is called with the device, ``failed`` with what it raised, or what the host did.
        """
        self._cancelled = False
        Thread(target=self._run, args=(name, work, failed), name=f"erasure {name}", daemon=True).start()

    def cancel(self) -> None:
        """Let :meth:`stopped` say so from now on."""
        self._cancelled = True

    def stopped(self) -> bool:
        """Whether somebody cancelled it, here or with Interrupt in the host. ``work`` asks between its steps."""
        try:
            return self._cancelled or self._host.interrupted()
        except Exception:
            logger.exception("the host could not say whether it was interrupted")
            return self._cancelled

    def report(self, done: int, total: int, text: str) -> None:
        """Show the progress in the host's own progress bar. If that fails, the errand goes on."""
        try:
            self._host.show_progress(done, total, text)
        except Exception:
            logger.exception("the host could not show the progress")

    def _run(self, name: str, work: Callable[[], End], failed: Callable[[BaseException], End]) -> None:
        end: End | None = None
        try:
            with self._host.exclusive(name):
                self.works = True
                try:
                    end = work()
                except BaseException as error:
                    end = failed(error)
                finally:
                    free_memory()  # now, since on leaving this block the host loads its own model again
        except BaseException as error:
            failure = failed(error)
            end = end or failure  # what was found does not depend on how the host takes its device back
        with self._changed:
            # Both at once: whoever sees the end may begin another errand.
            self.works = False
            if end is not None:
                end()
            self._gate.free()
