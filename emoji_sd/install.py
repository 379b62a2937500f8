"""Copies emoji-SD into a web UI's folder, so that it appears among the checkpoints.

Needs nothing but Python, so that it also works before the web UI's first launch has installed its packages.
"""

from __future__ import annotations

import filecmp
import json
import re
import shutil
from pathlib import Path

from emoji_sd import MODEL
from erasure.whole_file import whole_file, write_text

TEXT_FOLDER = "emoji-sd-text-encoder"


class InstallError(Exception):
    """The model could not be copied to the web UI; the message says why, and what to do."""


def install(webui: Path, *, force: bool = False) -> list[Path]:
    """Copy the checkpoint, its text encoder and a ``.yaml`` that points to it; return the files.

    Different files of the same names are replaced only with ``force``.

    Raises: InstallError if ``webui`` is no web UI, cannot be written, or holds such files.
    """
    models = webui / "models"
    checkpoints = models / "Stable-diffusion"
    if not checkpoints.is_dir():
        raise InstallError(
            f"{webui} is no Stable Diffusion web UI: it has no folder models/Stable-diffusion. "
            "Give the folder that holds webui.py."
        )
    text = models / TEXT_FOLDER
    pairs = {source: text / source.name for source in sorted((MODEL.parent / "text_encoder").iterdir())}
    pairs[MODEL] = checkpoints / MODEL.name
    written_config = checkpoints / f"{MODEL.stem}.yaml"
    config = MODEL.with_suffix(".yaml").read_text(encoding="utf-8")
    content = _pointing_to(_quoted(str(text.resolve())), config)
    # Without quotes, as versions up to 0.2.0 wrote it.
    same = (content, _pointing_to(str(text.resolve()), config))

    differing = [p for s, p in pairs.items() if p.exists() and not filecmp.cmp(s, p, shallow=False)]
    if written_config.exists() and written_config.read_text(encoding="utf-8") not in same:
        differing.append(written_config)
    if differing and not force:
        names = ", ".join(str(path) for path in differing)
        raise InstallError(
            f"there are other files of these names: {names}. Move them away, or replace them with --force."
        )
    try:
        text.mkdir(exist_ok=True)
        for source, place in pairs.items():
            _copy(source, place)
        write_text(written_config, content)
    except OSError as error:
        raise InstallError(
            f"{webui} cannot be written: {error}. Check its permissions and the space on the disk."
        ) from error
    return [*pairs.values(), written_config]


def _copy(source: Path, place: Path) -> None:
    with whole_file(place) as temporary:
        shutil.copyfile(source, temporary)


def _pointing_to(text_encoder: str, config: str) -> str:
    """Return the config with this text encoder: a web UI would look for a relative path in its working folder, or on
    the Hugging Face hub."""
    return re.sub(r"(?<= version: )text_encoder$", lambda _: text_encoder, config, count=1, flags=re.MULTILINE)


def _quoted(path: str) -> str:
    """Return a YAML scalar: JSON's strings are those of YAML, but for characters written as two escapes.

    What is no character in a path, Python's stand-in for a byte that is not UTF-8, is written as an escape.
    """
    return json.dumps(path, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")
