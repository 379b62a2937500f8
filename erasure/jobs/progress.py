"""What the events of a run mean for its job, and for the host's own progress bar."""

from __future__ import annotations

from erasure.host.base import Host
from erasure.jobs.ending import result_of
from erasure.jobs.job import Result
from erasure.jobs.live import LiveJob, logger
from erasure.model.stage import Stage
from erasure.run.events import Event, Judged, Opened, Preview, Saved
from erasure.run.preview import RunPreview
from erasure.training.events import Step
from erasure.training.update_count import update_of


class Progress:
    """Sees the events of one job's run, one after the other, and keeps what the job's end is told by."""

    def __init__(self, job: LiveJob, host: Host):
        self.opened: Opened | None = None
        self.result: Result | None = None  # of the last LoRA file
        self.ended = False  # that LoRA is of a run that was not stopped
        self._job = job
        self._host = host
        self._picture: RunPreview | None = None  # that the host has not shown yet

    def see(self, event: Event) -> None:
        """Tell the job and the host of an event."""
        job = self._job
        if isinstance(event, Opened):
            self.opened = event
            return
        if isinstance(event, Stage):
            if not job.wish:  # what the user wished meanwhile is said already
                job.say(event)
            self.report()
            return
        job.see(event)
        if isinstance(event, Step):
            self.enter_running()
            last = event.step == event.steps
            job.say("saves and checks the LoRA" if last else update_of(event.step, event.steps))
        elif isinstance(event, Judged):
            job.say("saves and checks the LoRA")
        elif isinstance(event, Preview):
            self._picture = RunPreview(job.folder, event.step)
        elif isinstance(event, Saved) and event.is_lora:
            self.result = result_of(event)
            self.ended = event.final
        self.report()

    def enter_running(self) -> None:
        """Call the job running, unless its state tells already of what the user wished meanwhile."""
        with self._job.changed:
            if self._job.state == "preparing" and not self._job.wish:
                self._job.enter("running", self._job.message)

    def report(self) -> None:
        """Show the progress in the host's own progress bar. If that fails, the run goes on."""
        job = self._job
        try:
            preview, self._picture = self._picture, None
            picture = preview.sheet() if preview is not None else None
            self._host.show_progress(job.history.step, job.history.steps, job.message, picture)
        except Exception:
            logger.exception("the host could not show the progress")
