"""Copies emoji-SD, or a miniature of another family, into a web UI's folder, so that it appears among the checkpoints.

Needs nothing but Python, so that it also works before the web UI's first launch has installed its packages. Only data
is copied. OpenCLIP text encoders need one file outside of the web UI's own folder: its library ``open_clip`` builds
them by name, and knows the names of the files in its ``model_configs``.
"""

from __future__ import annotations

import filecmp
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from emoji_sd import MODEL
from erasure.whole_file import whole_file, write_text

TEXT_FOLDER = "emoji-sd-text-encoder"
OPEN_CLIP = "open_clip.json"
"""Name of the file in a text encoder's folder with its sizes in ``open_clip``'s format."""

_VERSION = re.compile(r"(?<= version: )[\w-]+$", flags=re.MULTILINE)
_ARCH = re.compile(r"(?<= arch: )[\w-]+$", flags=re.MULTILINE)
_LIBRARIES = ("venv/lib/python*/site-packages/open_clip", "venv/Lib/site-packages/open_clip")


class InstallError(Exception):
    """The model could not be copied to the web UI; the message says why, and what to do."""


def install(
    webui: Path, checkpoint: Path | None = None, *, open_clip: Path | None = None, force: bool = False
) -> list[Path]:
    """Copy a checkpoint, its text encoders and a ``.yaml`` that points to them; return the files.

    ``checkpoint``: emoji-SD if not given, or one that ``emoji_sd.making`` wrote. ``open_clip``: folder of that library
    in the web UI's Python; looked for in the web UI's ``venv`` if not given, and used only for OpenCLIP text encoders.
    Different files of the same names are replaced only with ``force``.

    Raises: InstallError if ``webui`` is no web UI, cannot be written, or holds such files; if there is no such
    checkpoint; or if the library is needed and not found.
    """
    checkpoint = checkpoint or MODEL
    models = webui / "models"
    checkpoints = models / "Stable-diffusion"
    if not checkpoints.is_dir():
        raise InstallError(
            f"{webui} is no Stable Diffusion web UI: it has no folder models/Stable-diffusion. "
            "Give the folder that holds webui.py."
        )
    config, folders = _described(checkpoint)
    places = {folder: models / _place(folder, checkpoint) for folder in folders}
    pairs = {source: place / source.name for folder, place in places.items() for source in sorted(folder.iterdir())}
    pairs[checkpoint] = checkpoints / checkpoint.name
    for folder in folders:
        if (folder / OPEN_CLIP).is_file() and (arch := _ARCH.search(config)):
            pairs[folder / OPEN_CLIP] = _architectures(webui, open_clip) / f"{arch[0]}.json"
    written_config = checkpoints / f"{checkpoint.stem}.yaml"
    names = {folder.name: str(place.resolve()) for folder, place in places.items()}
    content = _pointing_to({name: _quoted(place) for name, place in names.items()}, config)
    # Without quotes, as versions up to 0.2.0 wrote it.
    same = (content, _pointing_to(names, config))

    differing = [p for s, p in pairs.items() if p.exists() and not filecmp.cmp(s, p, shallow=False)]
    if written_config.exists() and written_config.read_text(encoding="utf-8") not in same:
        differing.append(written_config)
    if differing and not force:
        raise InstallError(
            f"there are other files of these names: {_listed(differing)}. Move them away, or replace them with --force."
        )
    try:
        for place in places.values():
            place.mkdir(exist_ok=True)
        for source, place in pairs.items():
            _copy(source, place)
        write_text(written_config, content)
    except OSError as error:
        raise InstallError(
            f"a file cannot be written: {error}. Check permissions and the space on the disk."
        ) from error
    return [*pairs.values(), written_config]


def _described(checkpoint: Path) -> tuple[str, list[Path]]:
    """Return the text of the yaml beside a checkpoint, and the folders of its text encoders."""
    path = checkpoint.with_suffix(".yaml")
    if not (checkpoint.is_file() and path.is_file()):
        raise InstallError(
            f"{checkpoint} is no checkpoint with a .yaml beside it. Give one that emoji_sd.making wrote, or none for "
            "emoji-SD."
        )
    config = path.read_text(encoding="utf-8")
    folders = [checkpoint.parent / name for name in _VERSION.findall(config)]
    return config, [folder for folder in folders if folder.is_dir()]


def _place(folder: Path, checkpoint: Path) -> str:
    """Return the name that a text encoder's folder gets among those of other models."""
    return folder.name if folder.name.startswith(checkpoint.stem) else f"{checkpoint.stem}-text-encoder"


def _architectures(webui: Path, open_clip: Path | None) -> Path:
    """Return the folder with the architectures that the web UI's ``open_clip`` knows."""
    found = [open_clip] if open_clip else [path for pattern in _LIBRARIES for path in sorted(webui.glob(pattern))]
    folders = [path / "model_configs" for path in found if (path / "model_configs").is_dir()]
    if not folders:
        raise InstallError(
            f"the library open_clip is not in {open_clip or webui / 'venv'}, and this model's text encoder needs one "
            "file there. Start the web UI once, which installs it, or give its folder with --open-clip DIR: the web "
            'UI\'s Python names it with -c "import open_clip; print(open_clip.__path__[0])".'
        )
    return folders[0]


def _copy(source: Path, place: Path) -> None:
    with whole_file(place) as temporary:
        shutil.copyfile(source, temporary)


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _pointing_to(text_encoders: dict[str, str], config: str) -> str:
    """Return the config with these text encoders in place of those of the names: a web UI would look for a relative
    path in its working folder, or on the Hugging Face hub."""
    return _VERSION.sub(lambda found: text_encoders.get(found[0], found[0]), config)


def _quoted(path: str) -> str:
    """Return a YAML scalar: JSON's strings are those of YAML, but for characters written as two escapes.

    What is no character in a path, Python's stand-in for a byte that is not UTF-8, is written as an escape.
    """
    return json.dumps(path, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")
