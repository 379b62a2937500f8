"""What tells of a machine or its user, found in texts and taken out of them. Needs no torch."""

from __future__ import annotations

import getpass
import re
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# An absolute path up to its last part: "/a/b/" of "/a/b/c.txt"; between quotes it may have spaces.
_QUOTED_PLACE = re.compile(r"(?<=['\"])(?:[A-Za-z]:[\\/]+|\\\\|/)[^'\"]*[\\/]+(?=[^'\"\\/])")
_PLACE = re.compile(r"(?<![\w.~/\\-])(?:[A-Za-z]:[\\/]+|\\\\|/)(?:[^\s/\\'\"<>|:;,]+[\\/]+)+")
# A home folder, of which the last part is the name of its owner.
_HOME = re.compile(
    r"(?<![\w.-])(?:[A-Za-z]:)?[\\/]+(?:home|Users)[\\/]+[^\s/\\'\"<>|:;,]+[\\/]*(?![^\s'\"<>|:;,])", re.IGNORECASE
)
_TILDE = re.compile(r"(?<![\w.-])~\w*[\\/]+(?:[^\s/\\'\"<>|:;,]+[\\/]+)*")
# Names that say nothing of a person, and are words of other texts.
_COMMON = frozenset(
    ("root", "user", "users", "admin", "administrator", "home", "ubuntu", "debian", "localhost", "runner", "worker")
)
_SHORTEST = 3  # letters; a shorter name would be found in everything
# What web UIs and the tools that read LoRA files need; these texts are made by trainers of settings and hashes, or are
# what the user wrote to be read by others. In all other keys, a text that names this machine or its user is left out.
_WRITTEN_FOR_OTHERS = frozenset(
    ("adversarial_erase", "adversarial_erase_asked", "adversarial_erase_names", "adversarial_erase_verdict",
     "adversarial_erase_base_weights",
     "ss_output_name", "ss_sd_model_name", "ss_training_comment", "ss_base_model_version", "ss_network_module",
     "ss_optimizer", "ss_lr_scheduler", "modelspec.title", "modelspec.description", "modelspec.usage_hint",
     "modelspec.architecture", "modelspec.implementation", "modelspec.author", "modelspec.license", "modelspec.tags",
     "modelspec.trigger_phrase", "modelspec.merged_from")
)  # fmt: skip
PICTURES = ("ssmd_cover_images", "modelspec.thumbnail")


def bare_paths(text: str) -> str:
    """Return the text with absolute paths of any system cut to their last part."""
    if "/" not in text and "\\" not in text:
        return text
    return _PLACE.sub("", _QUOTED_PLACE.sub("", text))


def without_places(text: str) -> str:
    """Return the text as :func:`bare_paths` does, and without home folders, whosever they are."""
    text = re.sub(r"\bfile:/+", "/", text, flags=re.IGNORECASE)
    return _TILDE.sub("", bare_paths(_HOME.sub("", text)))


def names_of_this_machine() -> tuple[str, ...]:
    """Return what must not be told: the home and temporary folders, the user's name, and the names of the machine."""
    words = {str(Path.home()), tempfile.gettempdir()}
    host = socket.gethostname()
    names = {Path.home().name, host, host.partition(".")[0]}
    with suppress(OSError, KeyError, ImportError):  # a user without a name
        names.add(getpass.getuser())
    words |= {name for name in names if len(name) >= _SHORTEST and name.casefold() not in _COMMON}
    return tuple(sorted(word for word in words if len(word) >= _SHORTEST))


def names_found(text: str, names: tuple[str, ...]) -> list[str]:
    """Return those of ``names`` that the text has as whole words, in any case."""
    return [name for name in names if re.search(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", text, re.IGNORECASE)]


def private_metadata(metadata: Mapping[str, str], names: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Return a file's metadata without places and without texts that name this machine or its user.

    Also returns the keys that were left out or changed, in the order of the file.
    """
    kept: dict[str, str] = {}
    changed: list[str] = []
    for key, text in metadata.items():
        bare = text if key in PICTURES else without_places(text)
        if key in PICTURES or key in _WRITTEN_FOR_OTHERS or not names_found(bare, names):
            kept[key] = bare
        if kept.get(key) != text:
            changed.append(key)
    return kept, changed
