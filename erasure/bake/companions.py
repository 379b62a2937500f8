"""What lies beside a checkpoint in one file and belongs to it: its LDM yaml, and the text folder that this names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.errors import OutputExists
from erasure.model.checkpoint import CheckpointInfo, OriginalFile
from erasure.model.diffusers_folder import TOKENIZER_FILES
from erasure.model.ldm_config import yaml_beside
from erasure.whole_file import whole_file, whole_folder

_CONFIG = "config.json"
_TEXT_FILES = (_CONFIG, *TOKENIZER_FILES, "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Companions:
    """Pairs (from, to) of what is to be copied, None for what is not; ``notes`` on what cannot be, one line each."""

    yaml: tuple[Path, Path] | None = None
    text_folders: tuple[tuple[Path, Path], ...] = ()
    notes: tuple[str, ...] = ()

    @contextmanager
    def copied(self) -> Iterator[None]:
        """Copy them; they take their names if the block ends without an error. Raises: OSError."""
        with ExitStack() as stack:
            for source, target in self.text_folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                folder = stack.enter_context(whole_folder(target))
                for name in _TEXT_FILES:
                    if (source / name).is_file():
                        shutil.copyfile(source / name, folder / name)
            if self.yaml is not None:
                shutil.copyfile(self.yaml[0], stack.enter_context(whole_file(self.yaml[1])))
            yield


def companions(info: CheckpointInfo, out: Path, *, overwrite: bool) -> Companions:
    """Return what must lie beside ``out`` so that it is opened as the checkpoint is.

    Raises: OutputExists if another file or folder has the name.
    """
    beside, target = yaml_beside(info.path), yaml_beside(out)
    if not isinstance(info.contents, OriginalFile) or not beside.is_file():
        return Companions()
    if target.exists() and not (overwrite and target.is_file()):
        raise OutputExists(f"{target} exists; choose another name, or ask to overwrite it")
    here, there = Path(os.path.normpath(beside.parent)), Path(os.path.normpath(out.parent))
    yaml = (beside, target)
    if _is_same(here, there):
        return Companions(yaml)
    config = info.contents.config
    copies, notes = [], []
    named = zip(config.text_files(), info.family.text_encoders, config.texts, strict=True)
    for (_, folder), own, told in named:
        inside = Path(os.path.normpath(folder))
        if folder == own.tokenizer_folder:
            continue
        if here not in inside.parents:
            note = f"{target.name} takes the text encoder's configuration from {folder.name}, which is not beside it"
            notes += [] if _is_absolute(told) else [f"{note}: check its path"]
            continue
        copy = there / inside.relative_to(here)
        if not copy.exists():
            copies.append((folder, copy))
        elif not (copy / _CONFIG).is_file() or (copy / _CONFIG).read_bytes() != (folder / _CONFIG).read_bytes():
            raise OutputExists(
                f"{copy} exists, but is not the text folder that {beside.name} names; choose another place"
            )
    return Companions(yaml, tuple(copies), tuple(notes))


def _is_absolute(told: Mapping[str, Any]) -> bool:
    """Return whether what an LDM yaml says of a text encoder names its folder by an absolute path."""
    return Path(str((told.get("params") or {}).get("version") or "")).is_absolute()


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
