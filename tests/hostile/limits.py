"""What one file or request may take: time, and memory beyond what the process had before."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10.0  # of the processor, so that a busy machine does not fail the tests
PATIENCE = 300.0  # of the clock: what only waits takes no processor time
MEGABYTES = 1000.0
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class TooSlow(BaseException):
    """Not an Exception, so that no handler of the code under test takes it for the file's fault."""


@dataclass
class Taken:
    """Seconds of the processor, and megabytes beyond those before; 0 where the system does not tell."""

    seconds: float = 0.0
    megabytes: float = 0.0


@contextmanager
def limits() -> Iterator[Taken]:
    """Interrupt the block after its time. Raises: TooSlow, or AssertionError if it took too much memory."""

    def stop(number: int, frame: object) -> None:
        raise TooSlow(f"still at work after {SECONDS:g} s of the processor, or {PATIENCE:g} s of the clock")

    taken = Taken()
    signals = {signal.SIGPROF: (signal.ITIMER_PROF, SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, PATIENCE)}
    before = {number: signal.signal(number, stop) for number in signals}
    with suppress(OSError):
        _RESET.write_text("5", encoding="ascii")  # from now on, the peak is that of the block
    start, used = time.process_time(), _kilobytes("VmRSS")
    for timer, seconds in signals.values():
        signal.setitimer(timer, seconds)
    try:
        yield taken
    finally:
        for timer, _ in signals.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        taken.seconds = time.process_time() - start
        taken.megabytes = max(0, _kilobytes("VmHWM") - used) / 1000
    assert taken.megabytes < MEGABYTES, f"took {taken.megabytes:.0f} MB"


def _kilobytes(name: str) -> int:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
    except OSError:
        return 0
    return int(found[1]) if found else 0
