"""Inspects a checkpoint: its family, layout and size, read once and from headers alone, and its hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.families.family import Family
from erasure.families.known import FAMILIES, supported
from erasure.file_hashes import sha256_of_files, short_hash_of_file
from erasure.model.diffusers_folder import INDEX, DiffusersFolder, read_folder, weight_files
from erasure.model.kinds import Foreign, tell_family
from erasure.model.ldm_config import LdmConfig, read_ldm_config, yaml_beside
from erasure.model.size import ModelSize, size_of_file, size_of_folder
from erasure.model.weights_file import FLOATS, WeightsFile, open_weights

EMA = "model_ema."
_Stamp = tuple[Path, int, int]


@dataclass(frozen=True)
class OriginalFile:
    """A checkpoint in one file: its header, and the LDM configuration beside it, or else the one that ships with us."""

    weights: WeightsFile
    config: LdmConfig


@dataclass(frozen=True)
class CheckpointInfo:
    """A text-to-image checkpoint of a supported family, with everything that was read to find this out.

    ``path``: the file, or the folder of the diffusers layout; ``name``: its stem. All questions about a checkpoint are
    answered from here, without opening a file again.
    """

    path: Path
    name: str
    family: Family
    contents: OriginalFile | DiffusersFolder

    @property
    def layout(self) -> Literal["original", "diffusers"]:
        """One file in the original layout, or a folder in that of diffusers."""
        return "original" if isinstance(self.contents, OriginalFile) else "diffusers"

    @property
    def config(self) -> Path:
        """The LDM yaml that is used, or ``model_index.json`` of the diffusers layout."""
        return self.contents.config.path if isinstance(self.contents, OriginalFile) else self.path / INDEX

    @property
    def has_ema(self) -> bool:
        """Whether it has a complete set of averaged U-Net weights, which are loaded then."""
        if isinstance(self.contents, OriginalFile):
            return ema_names(self.contents.weights, self.family) is not None
        return (self.path / "unet_ema" / "config.json").is_file()

    @cached_property
    def size(self) -> ModelSize:
        """Number of weights of each part, and the side of the pictures."""
        if isinstance(self.contents, OriginalFile):
            return size_of_file(self.contents.weights, self.contents.config)
        return size_of_folder(self.contents)


def inspect_checkpoint(path: Path, families: Sequence[Family] = FAMILIES) -> CheckpointInfo:
    """Read the header of a ``.safetensors`` or ``.ckpt`` file, or the configurations and headers of a diffusers folder.

    What has not changed since the last call is not read again. Raises: BrokenCheckpoint if it is damaged, missing or
    not a model at all; UnsupportedCheckpoint if it is another kind of model. The message says which, and what to do.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _inspect_folder(path, _folder_stamps(path), tuple(families))
        beside = yaml_beside(path)
        read = (path, beside) if beside.is_file() else (path,)
        info = _inspect_file(path, tuple(_stamp(file) for file in read if file.exists()), tuple(families))
        if isinstance(info.contents, OriginalFile):
            info.contents.config.text_folder()  # lies elsewhere, so that it may be gone
        return info
    except OSError as error:
        raise BrokenCheckpoint(f"{path} cannot be read ({error}). Check the path and permissions.") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # A configuration may have anything in place of what it should.
        raise BrokenCheckpoint(
            f"{path} has a configuration that makes no sense ({type(error).__name__}: {error}). Download it again."
        ) from error


# Stamps are part of the cache's key, so that changed files are read again.
@lru_cache(maxsize=16)
def _inspect_folder(path: Path, stamps: tuple[_Stamp, ...], families: tuple[Family, ...]) -> CheckpointInfo:
    folder = read_folder(path, families)
    return CheckpointInfo(path, path.resolve().name, folder.family, folder)


@lru_cache(maxsize=16)
def _inspect_file(path: Path, stamps: tuple[_Stamp, ...], families: tuple[Family, ...]) -> CheckpointInfo:
    weights = open_weights(path)
    family = tell_family(weights, families)
    if isinstance(family, Foreign):
        raise UnsupportedCheckpoint(
            f"{path} is {family.what}, not {supported(families)} text-to-image checkpoint. {family.advice}"
        )
    packed = next((name for name in unet_names(weights, family) if weights.dtypes[name] not in FLOATS), None)
    if packed is not None:
        raise UnsupportedCheckpoint(
            f"{path} is a quantised model ({packed} is {weights.dtypes[packed]}). "
            "Choose the fp16 or fp32 version of it."
        )
    return CheckpointInfo(path, path.stem, family, OriginalFile(weights, read_ldm_config(path, family, families)))


def unet_names(weights: WeightsFile, family: Family) -> list[str]:
    """Return the names of the U-Net's tensors in a file of the original layout."""
    return [name for name in weights.shapes if name.startswith(family.parts.unet)]


def ema_names(weights: WeightsFile, family: Family) -> dict[str, str] | None:
    """Return the name of the averaged version of each U-Net tensor, by its plain name; None if one is missing.

    CompVis' ``LitEma`` stores ``model.a.b`` as ``model_ema.ab``.
    """
    names = unet_names(weights, family)
    pairs = {name: EMA + name.removeprefix("model.").replace(".", "") for name in names}
    complete = all(weights.shapes.get(twin) == weights.shapes[name] for name, twin in pairs.items())
    return pairs if pairs and complete else None


def sha256(path: Path) -> str:
    """Return the sha256 of a file, or of the U-Net's weights files of a diffusers folder in a row: 64 hex digits."""
    return _sha256(tuple(_stamp(file) for file in _hashed_files(path)))


def short_hash(path: Path) -> str:
    """Return the old web UI hash of a file, or of the first of a diffusers folder's U-Net files: 8 hex digits."""
    return short_hash_of_file(_hashed_files(path)[0])


def _hashed_files(path: Path) -> list[Path]:
    path = Path(path)
    return weight_files(path, "unet") if path.is_dir() else [path]


def _folder_stamps(folder: Path) -> tuple[_Stamp, ...]:
    """Return the stamps of all files in the folder and in its parts' folders."""
    files = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()]
    return tuple(_stamp(file) for file in sorted(files))


def _stamp(file: Path) -> _Stamp:
    state = file.stat()
    return file.resolve(), state.st_size, state.st_mtime_ns


@lru_cache(maxsize=64)
def _sha256(stamps: tuple[_Stamp, ...]) -> str:
    return sha256_of_files(path for path, _, _ in stamps)
