"""The folder of a shared LoRA: made whole beside its place, and then put there."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from erasure.errors import LoraFileError, OutputExists, OutputRefused, RunError
from erasure.file_hashes import sha256_of_files
from erasure.lora.file import read_lora_header
from erasure.lora.hashes import lora_hashes
from erasure.lora.relabel import copy_with_metadata
from erasure.safetensors_file import DamagedFile, Header, read_tensors
from erasure.share.about import read_about
from erasure.share.civitai import civitai_values
from erasure.share.model_card import model_card
from erasure.share.order import ShareOrder
from erasure.share.pictures import is_picture_file, shared_pictures
from erasure.share.private import PICTURES, names_of_this_machine, private_metadata
from erasure.whole_file import write_json, write_text

CARD, CIVITAI = "README.md", "civitai.json"
_LISTED = 10  # keys, in a note


@dataclass(frozen=True)
class SharedFolder:
    """A folder that is ready to be uploaded. ``files``: paths within it; ``notes``: what its maker should know."""

    path: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]


def check_place(to: Path, *, overwrite: bool) -> None:
    """Check that a folder can be made. Raises: OutputExists, OutputRefused."""
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise OutputRefused(f"{to} is in the way: it is no folder; choose another name")
    try:
        full = to.is_dir() and any(to.iterdir())
        if full and not overwrite:
            raise OutputExists(f"the folder {to} exists and is not empty; choose another, or ask to overwrite it")
        if not to.parent.is_dir():
            raise OutputRefused(f"{to} is to lie in the folder {to.parent}, which does not exist; create it")
    except OSError as error:
        raise OutputRefused(f"{to} cannot be written: {error.strerror or error}; choose another place") from error


def share_lora(order: ShareOrder, to: Path, *, overwrite: bool = False) -> SharedFolder:
    """Make the folder ``to``, whole or not at all. In one that exists, files of the same names are replaced.

    Raises: EraseError for a file that cannot be shared; OutputExists, OutputRefused; RunError if it cannot be written.
    """
    check_place(to, overwrite=overwrite)
    header = read_lora_header(order.lora)
    making = to.with_name(f".{to.name}.{secrets.token_hex(3)}.part")
    try:
        making.mkdir()
        notes = _fill(making, order, header)
        files = tuple(sorted(path.relative_to(making).as_posix() for path in making.rglob("*") if path.is_file()))
        _put(making, to, files)
    except DamagedFile as error:
        raise LoraFileError(f"{order.lora.name} cannot be shared: {error}; {error.advice}") from error
    except OSError as error:
        raise RunError(f"the folder {to} could not be written: {error}; free disk space or choose another") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return SharedFolder(to, files, tuple(notes))


def files_in(folder: Path) -> tuple[str, ...]:
    """Return what belongs to a shared folder, called like its LoRA, by paths within it: links and all else are not.

    Raises: RunError if it lacks what every shared folder has.
    """
    needed = (CARD, CIVITAI, f"{folder.name}.safetensors")
    pictures = (f"pictures/{path.name}" for path in folder.glob("pictures/*"))
    names = (*needed, *(name for name in pictures if is_picture_file(name)))
    inside = {name: folder / name for name in names}
    files = [name for name, path in inside.items() if path.is_file() and path.resolve() == folder.resolve() / name]
    missing = [name for name in needed if name not in files]
    if missing:
        raise RunError(f"the folder of {folder.name} lacks {', '.join(missing)}; make it again")
    return tuple(sorted(files))


def _fill(folder: Path, order: ShareOrder, header: Header) -> list[str]:
    """Write all files into the empty folder, and return the notes."""
    file = folder / f"{order.lora.stem}.safetensors"
    metadata, changed = _own_metadata(order, header)
    _write_lora(order.lora, file, metadata, header)
    # From here on only what the shared file says is told: nothing else can get onto the pages.
    about = read_about(file, order.erase)
    pictures = shared_pictures(about, order.run, unsafe=order.unsafe_pictures)
    if about.unsafe and not order.unsafe_pictures and metadata.keys() & PICTURES:
        metadata = {key: text for key, text in metadata.items() if key not in PICTURES}
        _write_lora(order.lora, file, metadata, header)
    for name, image in pictures.files():
        (folder / name).parent.mkdir(exist_ok=True)
        image.save(folder / name, format="JPEG" if name.endswith(".jpg") else "PNG")
    sha256 = sha256_of_files([file])
    write_text(folder / CARD, model_card(about, order, pictures, sha256))
    write_json(folder / CIVITAI, civitai_values(about, order, sha256=sha256, size=file.stat().st_size))
    notes = []
    if pictures.left_out:
        notes.append(pictures.left_out)
    elif pictures.sheet is None:
        notes.append("there are no pictures: no run folder was found, and the file has no cover")
    if changed:
        keys = ", ".join(changed[:_LISTED])
        notes.append(f"what told of a machine or its user was left out of the file's metadata: {keys}")
    if about.base is None and not order.base_model:
        notes.append(
            "the base is not known on the Hugging Face Hub by its hash, and none was given, so the card names none"
        )
    return notes


def _own_metadata(order: ShareOrder, header: Header) -> tuple[dict[str, str], list[str]]:
    """Return the metadata of the shared file, and the keys of what was left out."""
    metadata, changed = private_metadata(header.metadata, names_of_this_machine())
    if metadata.get("modelspec.sai_model_spec"):
        metadata["modelspec.license"] = order.license
        if order.author:
            metadata["modelspec.author"] = order.author
    if any(key.startswith("ss_") for key in changed) and "sshs_legacy_hash" in metadata:
        tensors = read_tensors(order.lora, header.shapes)
        metadata["sshs_legacy_hash"] = lora_hashes(tensors, metadata)["sshs_legacy_hash"]
    return metadata, changed


def _write_lora(source: Path, target: Path, metadata: Mapping[str, str], header: Header) -> None:
    if metadata == header.metadata:
        shutil.copyfile(source, target)
    else:
        copy_with_metadata(source, target, metadata)


def _put(making: Path, to: Path, files: tuple[str, ...]) -> None:
    """Move the files into place; pictures of an earlier share that are not among them are removed."""
    if not to.exists():
        making.rename(to)
        return
    for old in list(to.glob("pictures/*")):
        name = old.relative_to(to).as_posix()
        if is_picture_file(name) and name not in files:
            with suppress(OSError):
                old.unlink()
    for name in files:
        (to / name).parent.mkdir(exist_ok=True)
        (making / name).replace(to / name)
