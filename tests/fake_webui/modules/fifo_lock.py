"""A lock that is given to whoever asked first. Not re-entrant."""

from __future__ import annotations

import threading
from collections import deque


class FIFOLock:
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._waiting: deque[threading.Event] = deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._guard:
            if not self._held:
                self._held = True
                return True
            if not blocking:
                return False
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()
        return True

    def release(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()  # held all along, by the next one
            else:
                self._held = False

    __enter__ = acquire

    def __exit__(self, t: object, v: object, tb: object) -> None:
        self.release()
