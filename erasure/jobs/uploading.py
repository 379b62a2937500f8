"""Uploading a shared LoRA to the Hugging Face Hub: offered, confirmed, and then done, one at a time, beside all else.

It is done with the login of the machine that serves the page, so it is there only where the host has it switched on.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Condition
from typing import Any, Literal

from erasure.errors import ConfigError, JobNotFound, RunError
from erasure.file_hashes import sha256_of_files
from erasure.host.base import Host
from erasure.host.uploads import OFF
from erasure.jobs.errand import Begun, End, Followed
from erasure.jobs.gate import UPLOAD, Gate
from erasure.jobs.lora_files import lora_names
from erasure.jobs.problems import described
from erasure.jobs.sharing import Sharing
from erasure.share.order import repo_problem

UploadState = Literal["uploading", "done", "failed", "cancelled"]
_MOST_OFFERS = 20  # that wait for somebody to confirm them


@dataclass(frozen=True)
class UploadRequest:
    """What somebody would like to publish: a shared LoRA by its name, and the repository as OWNER/NAME."""

    lora: str
    repo: str
    public: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class UploadOffer:
    """What would be published, to where, and as whom.

    ``confirm``: what has to be sent back for it; ``size`` in bytes; ``sha256``: of all files in a row.
    """

    confirm: str
    lora: str
    repo: str
    public: bool
    overwrite: bool
    account: str
    files: tuple[str, ...]
    size: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**asdict(self), "files": list(self.files)}


@dataclass(frozen=True)
class UploadSnapshot:
    """An upload at one moment: all that a page shows of it. ``share`` is what is sent of it, from 0 to 1."""

    state: UploadState
    lora: str
    repo: str
    public: bool
    account: str
    files: tuple[str, ...]
    message: str  # one line that says what it is doing now
    version: int  # grows with every change
    share: float = 0.0
    problem: str = ""  # why it failed
    notes: tuple[str, ...] = ()
    url: str = ""  # of the repository, once it is done

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**asdict(self), "files": list(self.files), "notes": list(self.notes)}


class _Stopped(Exception):
    """Somebody cancelled the upload."""


class Uploading(Followed[UploadSnapshot]):
    """The upload of a host, the one that is on or else the last. Any thread may call any method."""

    def __init__(self, host: Host, sharing: Sharing, changed: Condition):
        super().__init__(host, Gate(changed, str), changed, UPLOAD, "uploading", device=False)
        self._sharing = sharing
        self._offers: OrderedDict[str, UploadOffer] = OrderedDict()

    @property
    def off(self) -> str:
        """Why there are no uploads here, and what else can be done; "" where the host has them switched on."""
        return "" if self._host.uploads() else OFF

    def offer(self, request: UploadRequest) -> UploadOffer:
        """Return what would be published. Nothing is sent but the question whose login it is.

        Raises: RunError if uploads are off or the Hub cannot be asked; JobNotFound; ConfigError.
        """
        self._refuse_if_off()
        problem = repo_problem("repo", request.repo)
        if problem:
            raise ConfigError([problem])
        from erasure.share.folder import files_in
        from erasure.share.upload import account_of

        with described():
            name = _stem(request.lora)
            same = [lora for lora in lora_names(self._host.lora_folder()) if _stem(lora) == name]
            if len(same) > 1:
                told = "nobody knows which of them was shared; rename one, and share it again"
                raise ConfigError([f"lora: {', '.join(same)}: {told}"])
            folder = self._sharing.folder_of(name)
            files = files_in(folder)
            paths = [folder / name for name in files]
            offer = UploadOffer(
                confirm=secrets.token_urlsafe(16),
                lora=folder.name,
                repo=request.repo,
                public=request.public,
                overwrite=request.overwrite,
                account=account_of(),
                files=files,
                size=sum(path.stat().st_size for path in paths),
                sha256=sha256_of_files(paths),
            )
        with self._changed:
            self._offers[offer.confirm] = offer
            while len(self._offers) > _MOST_OFFERS:
                self._offers.popitem(last=False)
        return offer

    def start(self, confirm: str) -> UploadSnapshot:
        """Begin to publish what was offered, and return at once. An offer is good for once.

        Raises: RunError if uploads are off; JobNotFound if there is no such offer; JobConflict while another is on.
        """
        self._refuse_if_off()
        return self.begin(lambda: self._begun(confirm))

    def cancel(self) -> None:
        """End the upload; nothing of it is published. Raises: JobConflict if none is on."""
        self.end("nothing is being uploaded now", "will end now")

    def _refuse_if_off(self) -> None:
        if self.off:
            raise RunError(self.off)

    def _begun(self, confirm: str) -> Begun[UploadSnapshot]:
        with self._changed:
            offer = self._offers.pop(confirm, None)
        if offer is None:
            raise JobNotFound("this upload was not offered, or is out of date; look again at what would be uploaded")

        def shown(version: int) -> UploadSnapshot:
            return UploadSnapshot(
                state="uploading",
                lora=offer.lora,
                repo=offer.repo,
                public=offer.public,
                account=offer.account,
                files=offer.files,
                message="begins",
                version=version,
            )

        return Begun(f"uploading {offer.lora}", shown, lambda: self._upload(offer))

    # --- the thread

    def _upload(self, offer: UploadOffer) -> End:
        """Return what tells of the end."""
        from erasure.share.upload import UploadPlan, upload

        percent = -1

        def say(text: str) -> None:
            self._stop_if_cancelled()
            self._shown.tell(message=text)

        def sending(done: int, size: int) -> None:
            nonlocal percent
            self._stop_if_cancelled()
            if 100 * done // max(size, 1) > percent:  # it is called for every few thousand bytes
                percent = 100 * done // max(size, 1)
                self._shown.tell(share=percent / 100)

        with self._sharing.held(offer.lora):
            folder = self._sharing.folder_of(offer.lora)
            _refuse_if_changed(offer, (folder / name for name in offer.files))
            plan = UploadPlan(folder, offer.files, offer.repo, offer.public, offer.account)
            try:
                url = upload(plan, overwrite=offer.overwrite, progress=say, sending=sending)
            except _Stopped:
                return lambda: self._shown.tell(state="cancelled", message="")
        return lambda: self._shown.tell(state="done", message="", share=1.0, url=url)

    def _stop_if_cancelled(self) -> None:
        if self._errand.stopped():
            raise _Stopped


def _refuse_if_changed(offer: UploadOffer, files: Iterable[Path]) -> None:
    """Raises: RunError if the files are not those that were offered."""
    try:
        same = sha256_of_files(files) == offer.sha256
    except OSError:
        same = False
    if not same:
        raise RunError(f"the folder of {offer.lora} has changed since; look again at what would be uploaded")


def _stem(lora: str) -> str:
    """Return what the folder of a LoRA is called, by the LoRA's name in the Lora folder."""
    return lora.rpartition("/")[2].removesuffix(".safetensors")
