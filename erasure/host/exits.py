"""What must be done before a program ends, for programs that end without Python's own ``atexit``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


def before_signals(save: Callable[[], None]) -> None:
    """Have ``save`` called before whatever Ctrl-C and SIGTERM do now; the second signal does that at once.

    Does nothing outside of the main thread, where Python lets nobody handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    asked = threading.Event()  # both signals share it

    def end(number: int, frame: FrameType | None) -> None:
        if not asked.is_set():
            asked.set()
            save()
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    before = {number: signal.getsignal(number) for number in _NUMBERS}
    for number, handler in before.items():
        # An ignored signal stays so (a program in the background), as does a handler that Python cannot call (None).
        if callable(handler) or handler == signal.SIG_DFL:
            signal.signal(number, end)
