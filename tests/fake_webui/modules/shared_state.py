"""What is being done now, as progress bars and the API show it."""

from __future__ import annotations

import threading
import time
from typing import Any

from modules import devices


class State:
    def __init__(self) -> None:
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job = ""
        self.job_no = self.job_count = 0
        self.sampling_step = self.sampling_steps = 0
        self.current_image: Any = None
        self.id_live_preview = 0
        self.textinfo: str | None = None
        self.time_start: float | None = None
        self._server_command: str | None = None
        self._server_command_signal = threading.Event()

    @property
    def server_command(self) -> str | None:
        return self._server_command

    @server_command.setter
    def server_command(self, value: str | None) -> None:
        self._server_command = value
        self._server_command_signal.set()

    def wait_for_server_command(self, timeout: float | None = None) -> str | None:
        """Return the command, which is then forgotten."""
        if not self._server_command_signal.wait(timeout):
            return None
        self._server_command_signal.clear()
        command, self._server_command = self._server_command, None
        return command

    def request_restart(self) -> None:
        """ "Reload UI": presses Interrupt as well."""
        self.interrupt()
        self.server_command = "restart"

    def interrupt(self) -> None:
        self.interrupted = True

    def stop_generating(self) -> None:
        self.stopping_generation = True

    def nextjob(self) -> None:
        self.job_no += 1
        self.sampling_step = 0

    def begin(self, job: str = "(unknown)") -> None:
        """Begin a job; ``job_count`` is -1 until the job says how many pictures it makes."""
        self.sampling_step = self.job_no = self.id_live_preview = 0
        self.job_count = -1
        self.skipped = self.interrupted = self.stopping_generation = False
        self.current_image = self.textinfo = None
        self.time_start = time.time()
        self.job = job
        devices.torch_gc()

    def end(self) -> None:
        """End a job. The flags stay: a late Interrupt is still there for whoever does not call :meth:`begin`."""
        assert self.time_start is not None
        self.job = ""
        self.job_count = 0
        devices.torch_gc()

    def assign_current_image(self, image: Any) -> None:
        self.current_image = image
        self.id_live_preview += 1
