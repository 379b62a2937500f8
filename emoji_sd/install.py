"""Put emoji-SD into a web UI's folder, where it appears among the checkpoints."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

import yaml

from emoji_sd import MODEL
from erasure.whole_file import whole_file, write_text

TEXT_FOLDER = "emoji-sd-text-encoder"


class InstallError(Exception):
    """The model could not be put where it was asked for; the message says why and what to do."""


def install(webui: Path, *, force: bool = False) -> list[Path]:
    """Copy the checkpoint, its text encoder and a ``.yaml`` that points at it; returns what was written.

    Files that are there already and the same are left alone; others are replaced only with ``force``.
    Raises: InstallError.
    """
    models = webui / "models"
    checkpoints = models / "Stable-diffusion"
    if not checkpoints.is_dir():
        raise InstallError(
            f"{webui} is no Stable Diffusion web UI: it has no folder models/Stable-diffusion; "
            "give the folder that holds webui.py"
        )
    text = models / TEXT_FOLDER
    config = yaml.safe_load(MODEL.with_suffix(".yaml").read_text(encoding="utf-8"))
    # The web UI resolves a relative name against its own working folder, or asks a hub for it.
    config["model"]["params"]["cond_stage_config"]["params"]["version"] = str(text.resolve())
    pairs = {source: text / source.name for source in sorted((MODEL.parent / "text_encoder").iterdir())}
    pairs[MODEL] = checkpoints / MODEL.name
    written_config = checkpoints / f"{MODEL.stem}.yaml"
    content = yaml.safe_dump(config, sort_keys=False)

    differing = [p for s, p in pairs.items() if p.exists() and not filecmp.cmp(s, p, shallow=False)]
    if written_config.exists() and written_config.read_text(encoding="utf-8") != content:
        differing.append(written_config)
    if differing and not force:
        names = ", ".join(str(path) for path in differing)
        raise InstallError(f"another file of that name is there: {names}; move it away, or add --force")
    try:
        text.mkdir(exist_ok=True)
        for source, place in pairs.items():
            _copy(source, place)
        write_text(written_config, content)
    except OSError as error:
        raise InstallError(f"{webui} cannot be written: {error}") from error
    return [*pairs.values(), written_config]


def _copy(source: Path, place: Path) -> None:
    with whole_file(place) as temporary:
        shutil.copyfile(source, temporary)
