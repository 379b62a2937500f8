"""Which process works on a run: a lock file that the operating system frees when that process ends, however it does."""

from __future__ import annotations

from contextlib import suppress

from filelock import FileLock, Timeout

from erasure.run.folder import RunFolder


class Claim:
    """Two web UIs may share a data folder; only one of them may run, resume or delete a job."""

    def __init__(self, folder: RunFolder):
        self._folder = folder
        self._lock: FileLock | None = None

    def take(self) -> bool:
        """False: another process has it. On a file system without locks everybody gets it."""
        if self._lock is not None:
            return True
        # Taken by one thread and freed by another.
        lock = FileLock(self._folder.lock, timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return False
        except (OSError, NotImplementedError):
            return True
        self._lock = lock
        return True

    def free(self) -> None:
        """The file stays: to delete it now could take it from under the next one."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):
                lock.release()
