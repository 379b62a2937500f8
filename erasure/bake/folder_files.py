"""Which files of a diffusers folder are written anew, copied or left out when its U-Net or text encoders change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from erasure.errors import UnsupportedCheckpoint
from erasure.file_tree import walk
from erasure.model.checkpoint import CheckpointInfo
from erasure.model.diffusers_folder import DiffusersFolder, read_json
from erasure.model.model_layers import LayerPlace, unet_files
from erasure.model.weights_file import WeightsFile

# Endings of files with weights, of any program that reads such folders.
_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".onnx_data", ".pb", ".gguf",
            ".xml")  # fmt: skip
_PICKLED = "pytorch_model"


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder; paths in ``copied`` (source, path within) are absolute and relative to the folder.

    ``baked``: the U-Net's files, which say what is baked in, and those of text encoders that change, with their new
    paths within; ``left_out``: paths within of other files with weights of these parts, or of the whole model, which
    would still be those of the base.
    """

    baked: tuple[tuple[WeightsFile, Path], ...]
    copied: tuple[tuple[Path, Path], ...]
    left_out: tuple[Path, ...]

    @property
    def every(self) -> list[tuple[Path, Path]]:
        """All files that the new folder gets: where they come from, and their paths within."""
        return [*((file.path, inside) for file, inside in self.baked), *self.copied]


def folder_files(info: CheckpointInfo, places: Sequence[LayerPlace]) -> FolderFiles:
    """Sort the files of a checkpoint in the diffusers layout; those whose names begin with a dot do not count.

    ``places``: the weights that change. Raises: UnsupportedCheckpoint if a part that does is in several pickles.
    """
    folder = info.contents
    assert isinstance(folder, DiffusersFolder)
    changed = {place.file.path for place in places}
    texts = [folder.weights[encoder.part] for encoder in info.family.text_encoders]
    # All pieces of a part, also those that stay the same: what is a pickle gets another name.
    pieces = [file for files in texts if any(file.path in changed for file in files) for file in files]
    files = {file.path: file for file in (*unet_files(info), *pieces)}
    pickles = Counter(file.path.parent.name for file in files.values() if file.pickled is not None)
    several = next((part for part, count in pickles.items() if count > 1), None)
    if several is not None:
        what = "U-Net" if several.startswith("unet") else several
        raise UnsupportedCheckpoint(
            f"{folder.path} has its {what} in several .bin files. Save it as .safetensors with diffusers first."
        )
    parts = {file.parent.relative_to(folder.path).as_posix() for file in files}
    baked, copied, left_out = [], [], []
    for place, folders, names in walk(folder.path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = place / name
            inside = path.relative_to(folder.path)
            if path in files:
                file = files[path]
                baked.append((file, inside if file.pickled is None else _unpickled(inside)))
            elif name.startswith(".") or not path.is_file():
                continue
            elif _of_the_whole(inside, parts) and (name.lower().endswith(_WEIGHTS) or _lists_others(path, files)):
                left_out.append(inside)
            else:
                copied.append((path, inside))
    return FolderFiles(tuple(baked), tuple(copied), tuple(left_out))


def _unpickled(inside: Path) -> Path:
    """Return what a pickle is called as a safetensors file: of text encoders, transformers gives it another name."""
    name = inside.with_suffix(".safetensors").name
    return inside.with_name(f"model{name.removeprefix(_PICKLED)}" if name.startswith(_PICKLED) else name)


def _of_the_whole(inside: Path, parts: Collection[str]) -> bool:
    """Whether a file lies in a folder of the U-Net or of another part that changes, or beside those of all parts."""
    return len(inside.parts) == 1 or inside.parts[0].startswith("unet") or inside.parts[0] in parts


def _lists_others(path: Path, files: dict[Path, WeightsFile]) -> bool:
    """Whether it is the list of a part's pieces, and these are not the ones that are baked."""
    if ".index." not in path.name or path.suffix != ".json":
        return False
    pieces = read_json(path).get("weight_map")
    return not isinstance(pieces, dict) or any(path.parent / str(name) not in files for name in pieces.values())
