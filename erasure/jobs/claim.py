"""Which process works on a run: a lock file, which the operating system frees however that process ends."""

from __future__ import annotations

from contextlib import suppress

from filelock import FileLock, Timeout

from erasure.run.folder import RunFolder


class Claim:
    """The right to run, resume or delete a job: of two web UIs that share a data folder, only one has it at a time."""

    def __init__(self, folder: RunFolder):
        self._folder = folder
        self._lock: FileLock | None = None

    def take(self) -> bool:
        """Return whether the job is ours: False if another process has it. Without file locks, everyone gets it."""
        if self._lock is not None:
            return True
        # One thread takes it and another frees it.
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
        """Give the job up. The file stays: another process may be locking it at this moment."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):
                lock.release()
