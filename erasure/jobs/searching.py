"""Looking for the concepts near a target before there is a job: on the device, followed and cancelled by anyone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any, Literal

from erasure.config.settings import EraseConfig
from erasure.errors import EraseError, JobConflict, RunError
from erasure.host.base import Host
from erasure.jobs.concept_cache import ConceptCache, cache_key
from erasure.jobs.errand import End, Errand, told, versions
from erasure.jobs.gate import CONCEPTS, Gate
from erasure.model.stage import Stage

if TYPE_CHECKING:
    from erasure.concepts.space import ConceptSpace

SearchState = Literal["searching", "done", "failed", "cancelled"]
_CANCELLED = "looking for nearby concepts was cancelled; ask again"


@dataclass(frozen=True)
class SearchSnapshot:
    """A search at one moment: all that a page shows of it."""

    state: SearchState
    erase: tuple[str, ...]
    message: str  # one line that says what it is doing now
    version: int  # grows with every change
    stage: Stage | None = None  # the same with how far it is
    problem: str = ""  # why it failed


@dataclass
class _Search:
    """One search: what it looks for, how it is shown, and the error that ended it."""

    key: str
    shown: SearchSnapshot
    error: EraseError | None = None

    @property
    def on(self) -> bool:
        return self.shown.state == "searching"


class Searching:
    """The search of a host, the one that is on or else the last, and what searches found."""

    def __init__(self, host: Host, gate: Gate, changed: Condition):
        self._host = host
        self._gate = gate
        self._changed = changed
        self._found = ConceptCache()
        self._errand = Errand(host, gate, changed)
        self._versions = versions()
        self._search: _Search | None = None

    @property
    def works(self) -> bool:
        return self._errand.works

    @property
    def on(self) -> bool:
        return self._search is not None and self._search.on

    def snapshot(self) -> SearchSnapshot | None:
        """Return the search as it is now; None if there was none since the program started."""
        search = self._search
        return None if search is None else search.shown

    def known(self, checkpoint: Path, config: EraseConfig) -> dict[str, Any] | None:
        """Return the concept space as plain JSON types if it was found before, else None. Raises: RunError."""
        return self._found.get(cache_key(checkpoint, config))

    def start(self, checkpoint: Path, config: EraseConfig) -> None:
        """Begin to look for the concept space of ``config``, unless it is known or looked for; return at once.

        Raises: RunError; JobConflict while a job, a measurement or another search uses the device.
        """
        key = cache_key(checkpoint, config)
        with self._changed:
            search = self._search
            if self._found.get(key) is None and not (search is not None and search.on and search.key == key):
                self._begin(key, checkpoint, config)

    def find(self, checkpoint: Path, config: EraseConfig) -> dict[str, Any]:
        """Return the concept space of ``config``; looks for it unless it is known, and waits for other searches.

        Raises: JobConflict while a job or a measurement uses the device, or if the search is cancelled; EraseError.
        """
        key = cache_key(checkpoint, config)
        with self._changed:
            while True:
                known = self._found.get(key)
                if known is not None:
                    return known
                search = self._search
                if search is None or not search.on:
                    search = self._begin(key, checkpoint, config)
                self._changed.wait_for(lambda search=search: not search.on)  # type: ignore[misc]
                if search.key == key and search.shown.state != "done":
                    raise search.error or JobConflict(_CANCELLED)

    def cancel(self) -> None:
        """End the search after this step; nothing of it is kept. Raises: JobConflict if none is on."""
        with self._changed:
            search = self._search
            if search is None or not search.on:
                raise JobConflict("nearby concepts are not being looked for now")
            self._errand.cancel()
            self._tell(search, message="will end after this step", stage=None)

    def _begin(self, key: str, checkpoint: Path, config: EraseConfig) -> _Search:
        self._gate.take(CONCEPTS)
        try:
            shown = SearchSnapshot("searching", config.erase, "waits for the device", next(self._versions))
            search = self._search = _Search(key, shown)
            self._errand.begin(
                "nearby concepts",
                lambda: self._look(search, checkpoint, config),
                lambda error: self._failure(search, error),
            )
        except BaseException:
            self._gate.free()
            raise
        self._changed.notify_all()
        return search

    # --- the thread

    def _look(self, search: _Search, checkpoint: Path, config: EraseConfig) -> End:
        """Return what tells of the end."""
        from erasure.concepts.build import space_steps
        from erasure.model.checkpoint import inspect_checkpoint
        from erasure.model.model import open_model

        self._tell(search, message="loads the checkpoint")
        info = inspect_checkpoint(checkpoint).opened(self._host.opening(checkpoint))
        model = open_model(info, precision=config.precision, resolution=config.resolution, device=self._host.device())

        def see(stage: Stage) -> None:
            self._tell(search, message=str(stage), stage=stage)
            self._errand.report(stage.done, max(1, stage.total), str(stage))

        found = self._errand.follow(space_steps(model, config), see)
        if found is None:
            return lambda: self._tell(search, state="cancelled", message="", stage=None)
        return self._done(search, found)

    def _done(self, search: _Search, space: ConceptSpace) -> End:
        found = space.to_dict()

        def end() -> None:
            self._found.put(search.key, found)
            self._tell(search, state="done", message="", stage=None)

        return end

    def _failure(self, search: _Search, error: BaseException) -> End:
        problem = told(error)

        def end() -> None:
            search.error = error if isinstance(error, EraseError) else RunError(problem)
            self._tell(search, state="failed", message="", stage=None, problem=problem)

        return end

    def _tell(self, search: _Search, **changes: Any) -> None:
        with self._changed:
            search.shown = replace(search.shown, **changes, version=next(self._versions))
            self._changed.notify_all()
