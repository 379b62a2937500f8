"""Uploading a shared folder to the Hugging Face Hub, with the login that huggingface_hub keeps.

The token is only handed from huggingface_hub to huggingface_hub; no message holds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure.errors import OutputExists, RunError
from erasure.file_hashes import sha256_of_files
from erasure.share.watched_file import WatchedFile

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

_LOG_IN = "log in with `hf auth login` (older: `huggingface-cli login`), or set HF_TOKEN"
_LONGEST_NAME = 100  # of an account
_NETWORK = ("requests", "urllib3", "httpx", "httpx2", "httpcore", "httpcore2")  # by version of huggingface_hub


@dataclass(frozen=True)
class UploadPlan:
    """What is to be uploaded: the files of ``folder`` by their paths within it. ``size`` in bytes.

    ``account``: that the login must be of, "" for any.
    """

    folder: Path
    files: tuple[str, ...]
    repo: str
    public: bool
    account: str = ""

    @property
    def size(self) -> int:
        return sum((self.folder / file).stat().st_size for file in self.files)

    def __str__(self) -> str:
        kind = "public" if self.public else "private"
        return f"{len(self.files)} files, {self.size / 1e6:.1f} MB, to the {kind} repository {self.repo}"


def account_of(*, api: HfApi | None = None) -> str:
    """Return the name of the account that is logged in. Raises: RunError as :func:`upload` does."""
    api, token = _hub(api)
    with _hub_errors("the account", token):
        return _name(api.whoami(token=token))


def upload(
    plan: UploadPlan,
    *,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda text: None,
    sending: Callable[[int, int], None] | None = None,
    api: HfApi | None = None,
) -> str:
    """Upload what the repository lacks, in one commit, and return its address. The repository is made if need be.

    Files that are there with the same content are left out, so that a second call goes on where the first ended.
    ``progress`` is told in a line what is done now. ``sending`` is called with how many bytes are sent, and of how
    many; it may raise, as may ``progress``, and nothing is published then. Files are sent by plain HTTP for it, not by
    newer versions' own transfer (Xet). ``api``: another than that of the Hub.

    Raises: OutputExists if the repository has other files of these names, unless ``overwrite``; RunError for all else
    that the Hub refuses, or if it cannot be reached.
    """
    api, token = _hub(api)
    with _hub_errors(plan.repo, token), ExitStack() as opened:
        progress("checks the login")
        account = _name(api.whoami(token=token))
        if plan.account not in ("", account):
            raise RunError(f"the login is now that of {account}, not of {plan.account}; look again at what is uploaded")
        api.create_repo(plan.repo, token=token, private=not plan.public, repo_type="model", exist_ok=True)
        info = api.model_info(plan.repo, token=token, files_metadata=True)
        if info.private is False and not plan.public:
            raise RunError(f"{plan.repo} is there already and public; ask for a public upload, or choose another name")
        if info.private is True and plan.public:
            raise RunError(
                f"{plan.repo} is there already and private; make it public on its own page of the Hugging Face Hub, "
                "choose another name, or ask for a private upload"
            )
        missing = _missing(plan, {file.rfilename: file for file in info.siblings or []}, overwrite=overwrite)
        additions, contents = _additions(plan, missing, opened, watched=sending is not None)
        sizes = [(plan.folder / file).stat().st_size for file in missing]
        for number, addition in enumerate(additions, 1):
            progress(f"uploads {addition.path_in_repo} ({number} of {len(additions)})")
            if sending is not None:
                contents[number - 1].seen = partial(_tell, sending, sizes, number - 1)
            api.preupload_lfs_files(plan.repo, [addition], token=token, repo_type="model", free_memory=False)
        if additions:
            progress("finishes the upload")
            message = f"Upload {plan.repo.partition('/')[2]}"
            api.create_commit(plan.repo, additions, commit_message=message, token=token, repo_type="model")
    return f"{str(api.endpoint).rstrip('/')}/{plan.repo}"


def _hub(api: HfApi | None) -> tuple[HfApi, str]:
    """Return the Hub with the token of the login. Raises: RunError if there is none."""
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        raise RunError(
            f"uploading needs huggingface_hub ({error}); run: pip install 'adversarial-erase[share]'"
        ) from error
    token = get_token()
    if not token:
        raise RunError(f"there is no login for the Hugging Face Hub; {_LOG_IN}")
    return api or HfApi(library_name="adversarial-erase"), token


def _name(account: Mapping[str, Any]) -> str:
    return str(account.get("name", ""))[:_LONGEST_NAME]


def _additions(
    plan: UploadPlan, files: Sequence[str], opened: ExitStack, *, watched: bool
) -> tuple[list[CommitOperationAdd], list[WatchedFile]]:
    """Return what is to be added, and the files that are opened for it; their hashes are read already."""
    from huggingface_hub import CommitOperationAdd

    contents = [opened.enter_context(WatchedFile(plan.folder / file)) for file in files if watched]
    sources: Sequence[Any] = contents or [plan.folder / file for file in files]
    additions = [
        CommitOperationAdd(path_in_repo=file, path_or_fileobj=source)
        for file, source in zip(files, sources, strict=True)
    ]
    return additions, contents


def _tell(sending: Callable[[int, int], None], sizes: Sequence[int], number: int, place: int) -> None:
    """Tell that all files before this one are sent, and of this one what comes before a place in it."""
    sending(sum(sizes[:number]) + min(place, sizes[number]), sum(sizes))


def _missing(plan: UploadPlan, there: Mapping[str, Any], *, overwrite: bool) -> list[str]:
    """Return the files that the repository lacks or, if they are to be overwritten, has otherwise.

    Raises: OutputExists.
    """
    missing = [file for file in plan.files if file not in there]
    others = [file for file in plan.files if file in there and not _same(plan.folder / file, there[file])]
    if others and not overwrite:
        raise OutputExists(
            f"the name {plan.repo} is taken: it holds another {', '.join(others[:5])}; choose another name, or ask to "
            "overwrite it"
        )
    return [*missing, *others]


def _same(path: Path, there: Any) -> bool:
    """Return whether a file of the Hub has this content: by sha256 if it is large, else by git's hash."""
    lfs = there.lfs
    if lfs:
        stated = lfs.get("sha256") if isinstance(lfs, dict) else lfs.sha256
        return bool(stated == sha256_of_files([path]))
    data = path.read_bytes()
    return bool(there.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())


@contextmanager
def _hub_errors(repo: str, token: str) -> Generator[None, None, None]:
    """Turn what huggingface_hub raises into one line each, without the token. Raises: RunError."""
    from huggingface_hub.utils import HfHubHTTPError  # type: ignore[attr-defined]  # in all versions

    try:
        yield
    except RunError:
        raise
    except Exception as raised:
        # What goes wrong with the content of a large file comes as the cause of another error.
        wrapped = isinstance(raised, RuntimeError) and isinstance(raised.__cause__, Exception)
        error: Any = raised.__cause__ if wrapped else raised
        # Older versions raise a bare HTTPError for a login that is not accepted.
        if isinstance(error, HfHubHTTPError) or getattr(error, "response", None) is not None:
            raise RunError(_refused(repo, error).replace(token, "***")) from None
        said = " ".join(str(error).split())[:300].replace(token, "***")
        if type(error).__module__.partition(".")[0] in _NETWORK or isinstance(error, (ConnectionError, TimeoutError)):
            raise RunError(
                f"the Hugging Face Hub cannot be reached ({type(error).__name__}: {said}); check the network, and ask "
                "again: what is uploaded already is not uploaded twice"
            ) from None
        if isinstance(error, (ValueError, OSError)):
            raise RunError(f"{repo} could not be uploaded: {said}") from None
        raise error from None


def _refused(repo: str, error: Any) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = " ".join(str(getattr(error, "server_message", None) or error).split())[:300]
    if status == 401:
        return f"the Hugging Face Hub does not accept the login; {_LOG_IN}"
    if status == 403:
        return (
            f"the login has no right to write to {repo} on the Hugging Face Hub; use a token with write access, and "
            f"your own name or an organisation of yours as OWNER ({said})"
        )
    if status == 409:
        return f"the name {repo} is taken on the Hugging Face Hub; choose another ({said})"
    if status == 404:
        return f"there is no {repo} on the Hugging Face Hub, or the login may not see it ({said})"
    return f"the Hugging Face Hub refused it with status {status}: {said}"
