"""What is asked for when a LoRA is shared, checked before any work. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.errors import ConfigError, shown

# By what the Hub calls them (huggingface.co/docs/hub/repositories-licenses), the usual one first.
LICENSES: Mapping[str, str] = {
    "creativeml-openrail-m": "that of Stable Diffusion 1.x, usual for what is derived from it",
    "openrail++": "that of Stable Diffusion 2 and XL, usual for what is derived from it",
    "openrail": "Open RAIL",
    "cc0-1.0": "no rights reserved",
    "cc-by-4.0": "name the author",
    "cc-by-sa-4.0": "name the author, share alike",
    "cc-by-nc-4.0": "name the author, not commercially",
    "apache-2.0": "Apache 2.0",
    "mit": "MIT",
    "other": "another one, which you add to the folder",
}
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,59}")
# As huggingface_hub checks them, but always with an owner.
_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9])?"
_REPO = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_LONGEST_AUTHOR = 100
_NAME = re.compile(r"[^\W_][\w .()+'-]*")


@dataclass(frozen=True)
class ShareOrder:
    """A LoRA file that is to be shared.

    ``license``: an id of the Hub. ``base_model``: the base's id on the Hub, "" if not given; ``erase``: what it erases,
    for a file that does not say; ``author``: who is named, "" for nobody; ``run``: the run folder with its pictures, if
    there is one; ``unsafe_pictures``: also show pictures of unsafe content; ``repo``: where it will be uploaded, "" if
    that is not known.
    """

    lora: Path
    license: str
    base_model: str = ""
    erase: tuple[str, ...] = ()
    author: str = ""
    run: Path | None = None
    unsafe_pictures: bool = False
    repo: str = ""


def share_order(
    lora: Path,
    license: str | None,
    *,
    base_model: str | None = None,
    erase: Sequence[str] | None = None,
    author: str | None = None,
    run: Path | None = None,
    unsafe_pictures: bool = False,
    repo: str | None = None,
) -> ShareOrder:
    """Return the order. Raises: ConfigError with every problem."""
    problems = [license_problem(license), *_repo_problems("base_model", base_model), *_repo_problems("upload", repo)]
    if author and (len(author) > _LONGEST_AUTHOR or not author.isprintable()):
        problems.append(f"author: must be one line of at most {_LONGEST_AUTHOR} characters")
    if not _NAME.fullmatch(lora.stem) or lora.stem != lora.stem.strip():
        problems.append(
            f"the LoRA {shown(lora.name)} cannot be shared under this name: rename it to letters, digits, spaces and "
            "-_.()+"
        )
    if run is not None and not (run / "run.json").is_file():
        problems.append(f"run: {run} is no run folder; leave it out, or give the folder of the run that made the file")
    problems = [problem for problem in problems if problem]
    if problems:
        raise ConfigError(problems)
    return ShareOrder(
        lora,
        license or "",
        base_model or "",
        tuple(erase or ()),
        (author or "").strip(),
        run,
        unsafe_pictures,
        repo or "",
    )


def license_problem(license: Any) -> str:
    """Return what is wrong with the id of a licence, "" if nothing."""
    choices = ", ".join(LICENSES)
    if not license:
        return f"license: is needed; whoever gets the file must know what it may be used for. Choose one of {choices}"
    if not isinstance(license, str) or not _LICENSE.fullmatch(license):
        return f"license: {shown(license)} is no id of a licence; choose one of {choices}"
    return ""


def repo_problem(name: str, repo: Any) -> str:
    """Return what is wrong with OWNER/NAME of the Hub, "" if nothing."""
    if isinstance(repo, str) and _REPO.fullmatch(repo) and not re.search(r"--|\.\.|\.git$", repo):
        return ""
    return f"{name}: {shown(repo)} is no OWNER/NAME of the Hugging Face Hub"


def _repo_problems(name: str, repo: str | None) -> list[str]:
    return [repo_problem(name, repo)] if repo else []
