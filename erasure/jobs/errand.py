"""Work besides jobs: one piece at a time, most of it on the device, in a thread of its own, cancelled by anyone."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from erasure.errors import JobConflict
from erasure.host.base import Host
from erasure.jobs.gate import Gate
from erasure.jobs.live import logger
from erasure.jobs.memory import free_memory
from erasure.jobs.problems import describe, traceback_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

End = Callable[[], None]
"""What tells of the end of an errand; called when the device is free again."""


_Y = TypeVar("_Y")
_T = TypeVar("_T")
_S = TypeVar("_S", bound="DataclassInstance")


def told(error: BaseException) -> str:
    """Return what to tell people of an error. Its traceback goes to the log, if it has something to say."""
    problem, trace = describe(error), traceback_of(error)
    if trace:
        logger.error("%s", trace)
    return problem


def versions() -> count[int]:
    """Return numbers that begin above every one that a page may have seen from an earlier process."""
    return count(int(time.time() * 10))


class Shown(Generic[_S]):
    """What pages see of an errand: its snapshot, of the one that is on or else of the last; None before the first.

    Snapshots have ``state``, ``message``, ``problem``, and a ``version`` that grows with every change.
    """

    def __init__(self, changed: Condition):
        self.now: _S | None = None
        self._changed = changed
        self._versions = versions()

    def begin(self, make: Callable[[int], _S]) -> _S:
        """Show a new one, which ``make`` makes with its version."""
        with self._changed:
            now = self.now = make(next(self._versions))
        return now

    def tell(self, **changes: Any) -> None:
        """Change what is shown."""
        with self._changed:
            if self.now is not None:
                self.now = replace(self.now, **changes, version=next(self._versions))

    def failure(self, error: BaseException) -> End:
        """Return what tells of an error as the end."""
        problem = told(error)
        return lambda: self.tell(state="failed", message="", problem=problem)


class Errand:
    """Any thread may call any method. ``works``: it holds the device, so that ending the program must wait for it."""

    def __init__(self, host: Host, gate: Gate, changed: Condition, *, device: bool = True):
        """``device`` off: it needs none, so that pictures can be drawn and jobs work meanwhile."""
        self.works = False
        self._device = device
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
            return self._cancelled or (self._device and self._host.interrupted())
        except Exception:
            logger.exception("the host could not say whether it was interrupted")
            return self._cancelled

    def follow(self, steps: Generator[_Y, None, _T], see: Callable[[_Y], None]) -> _T | None:
        """Do steps one by one and let each be seen; return their value, None if somebody stopped it before the end."""
        try:
            while not self.stopped():
                try:
                    step = next(steps)
                except StopIteration as stop:
                    value: _T = stop.value
                    return value
                see(step)
            return None
        finally:
            steps.close()

    def report(self, done: int, total: int, text: str) -> None:
        """Show the progress in the host's own progress bar. If that fails, the errand goes on."""
        try:
            self._host.show_progress(done, total, text)
        except Exception:
            logger.exception("the host could not show the progress")

    def _run(self, name: str, work: Callable[[], End], failed: Callable[[BaseException], End]) -> None:
        end: End | None = None
        try:
            with self._host.exclusive(name) if self._device else nullcontext():
                self.works = self._device
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


@dataclass(frozen=True)
class Begun(Generic[_S]):
    """An errand that was read and may begin: what it is called, its first snapshot by version, and the work."""

    name: str
    shown: Callable[[int], _S]
    work: Callable[[], End]


class Followed(Generic[_S]):
    """An errand that pages see, the one that is on or else the last. Any thread may call any method."""

    def __init__(self, host: Host, gate: Gate, changed: Condition, who: str, doing: str, *, device: bool = True):
        """``who``: of the gate; ``doing``: the state of a snapshot while it is on; ``device``: see :class:`Errand`."""
        self._host = host
        self._shown = Shown[_S](changed)
        self._errand = Errand(host, gate, changed, device=device)
        self._gate = gate
        self._changed = changed
        self._who = who
        self._doing = doing

    @property
    def works(self) -> bool:
        return self._errand.works

    @property
    def on(self) -> bool:
        return self._shown.now is not None and getattr(self._shown.now, "state", "") == self._doing

    def snapshot(self) -> _S | None:
        """Return it as it is now; None if there was none since the program started."""
        return self._shown.now

    def begin(self, read: Callable[[], Begun[_S]]) -> _S:
        """Read an order while nobody else uses the device, begin, and return at once.

        Raises: JobConflict while a job or an errand uses the device; what ``read`` raises.
        """
        self._gate.take(self._who)
        try:
            begun = read()
            shown = self._shown.begin(begun.shown)
            self._errand.begin(begun.name, begun.work, self._shown.failure)
        except BaseException:
            self._gate.free()
            raise
        return shown

    def end(self, nothing: str, message: str) -> None:
        """Let it end, and show the message until then. Raises: JobConflict, which says ``nothing``, if none is on."""
        with self._changed:
            if not self.on:
                raise JobConflict(nothing)
            self._errand.cancel()
            self._shown.tell(message=message)
