"""Inspects a checkpoint: its family, layout and size, read once and from headers alone, and its hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from erasure.errors import BrokenCheckpoint, CheckpointError, UnsupportedCheckpoint
from erasure.families.family import Family, PredictionType
from erasure.families.known import FAMILIES, supported
from erasure.file_hashes import sha256_of_files, short_hash_of_file
from erasure.model.diffusers_folder import INDEX, DiffusersFolder, read_folder, weight_files
from erasure.model.kinds import Foreign, has, tell_family
from erasure.model.ldm_config import LdmConfig, read_ldm_config, yaml_beside
from erasure.model.opening import AS_DRAWN, Opening
from erasure.model.packing import packed
from erasure.model.prediction import WORDS
from erasure.model.size import ModelSize, size_of_file, size_of_folder
from erasure.model.vae_file import VaeFile, read_vae
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
    answered from here, without opening a file again. ``opening``: what was chosen where that leaves a choice, and
    ``vae`` the VAE that decodes in place of the checkpoint's own (None: its own, if it has one), see :meth:`opened`.
    """

    path: Path
    name: str
    family: Family
    contents: OriginalFile | DiffusersFolder
    opening: Opening = AS_DRAWN
    vae: VaeFile | None = None
    vae_problem: str = ""  # why the spare VAE cannot be used

    @property
    def layout(self) -> Literal["original", "diffusers"]:
        """One file in the original layout, or a folder in that of diffusers."""
        return "original" if isinstance(self.contents, OriginalFile) else "diffusers"

    @property
    def config(self) -> Path:
        """The LDM yaml that is used, or ``model_index.json`` of the diffusers layout."""
        return self.contents.config.path if isinstance(self.contents, OriginalFile) else self.path / INDEX

    @property
    def prediction_type(self) -> PredictionType | None:
        """What the U-Net predicts; None if only the loaded model tells (see :meth:`settled`)."""
        contents = self.contents
        return contents.config.prediction_type if isinstance(contents, OriginalFile) else contents.prediction_type

    @property
    def zero_snr(self) -> bool:
        """Whether the last of its noise levels has no picture in it (zero terminal SNR)."""
        return self.contents.config.zero_snr if isinstance(self.contents, OriginalFile) else self.contents.zero_snr

    def settled(self, prediction: PredictionType) -> CheckpointInfo:
        """Return the same checkpoint after it was measured what it predicts."""
        assert isinstance(self.contents, OriginalFile)
        return replace(self, contents=replace(self.contents, config=self.contents.config.settled(prediction)))

    @property
    def has_ema(self) -> bool:
        """Whether it has a complete set of averaged U-Net weights beside the plain ones."""
        if isinstance(self.contents, OriginalFile):
            return ema_names(self.contents.weights, self.family) is not None
        return bool(self.contents.averaged_unet)

    @property
    def averaged(self) -> bool:
        """Whether the averaged weights are loaded, by :attr:`opening`."""
        if self.opening.ema != "auto" or not self.has_ema:
            return self.opening.ema == "averaged"
        if isinstance(self.contents, OriginalFile):
            return self.contents.config.uses_ema
        return bool(self.contents.plain_unet)  # then those that diffusers loads are the averaged ones

    @property
    def has_vae(self) -> bool:
        """Whether it has a VAE of its own that can decode pictures."""
        own = self.own_vae
        return own is not None and own.decodes

    @property
    def own_vae(self) -> VaeFile | None:
        """The VAE in the checkpoint, as far as there is one."""
        if isinstance(self.contents, OriginalFile):
            weights, prefix = self.contents.weights, self.family.parts.vae
            return VaeFile(self.path, (weights,), prefix) if has(weights.shapes, prefix) else None
        files = self.contents.weights.get("vae")
        return None if files is None else VaeFile(self.path, files, config=self.contents.configs["vae"])

    def opened(self, opening: Opening) -> CheckpointInfo:
        """Return the same checkpoint as it is to be opened; headers alone are read.

        Raises: UnsupportedCheckpoint if it has no averaged weights where these are asked for; CheckpointError if the
        VAE that is asked for cannot be used. A spare one that cannot is noted.
        """
        if opening.ema == "averaged" and not self.has_ema:
            raise UnsupportedCheckpoint(
                f"{self.path} has no complete set of averaged (EMA) weights beside its plain ones. "
                "Take the plain ones, or choose a checkpoint that has both."
            )
        vae, problem = None, ""
        if opening.vae is not None:
            vae = read_vae(opening.vae, self.family)
        elif opening.spare_vae is not None and not self.has_vae:
            try:
                vae = read_vae(opening.spare_vae, self.family)
            except CheckpointError as error:
                problem = str(error)
        return replace(self, opening=opening, vae=vae, vae_problem=problem)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of how the checkpoint is opened, one line each."""
        return tuple(line for line in (*self._weights_notes(), *self._vae_notes()) if line)

    def _weights_notes(self) -> Iterator[str]:
        name = self.path.name
        if self.has_ema:
            taken, other = ("averaged", "plain") if self.averaged else ("plain", "averaged")
            why = " as web UIs do" if self.opening.ema == "auto" and not self.averaged else ""
            single = isinstance(self.contents, OriginalFile)
            or_yaml = " (or use_ema: true in a yaml beside it)" if single and not self.averaged else ""
            yield (
                f"{name} has averaged (EMA) weights beside plain ones: the {taken} ones are used{why}, and the LoRA is "
                f"for programs that draw with these. --ema {other}{or_yaml} takes the others"
            )
        if not isinstance(self.contents, OriginalFile):
            return
        weights, config = self.contents.weights, self.contents.config
        if config.uses_ema and not self.has_ema:
            yield f"{config.path.name} says use_ema, but {name} lacks averaged weights: the plain ones are used"
        if weights.wrapped:
            yield f"the names of weights in {name} have additions, which were taken off; web UIs may not open it so"
        if config.measured and config.prediction_type is not None:
            yield (
                f"nothing says what {name} predicts: measured, it is {WORDS[config.prediction_type]}. A yaml beside it "
                "with model.params.parameterization (eps or v) decides otherwise"
            )
        if config.skipped_layers > self.family.text_encoders[0].skipped:
            yield (
                f"the text encoder's last layer is left out, as {config.path.name} says (layer: penultimate): "
                "draw with Clip skip 2"
            )

    def _vae_notes(self) -> Iterator[str]:
        if self.vae_problem:
            yield f"the VAE that was chosen cannot be used: {self.vae_problem}"
        if self.vae is not None:
            yield f"pictures are drawn with the VAE {self.vae.path.name}"
        elif not self.has_vae:
            yield (
                f"{self.path.name} has no VAE that could decode pictures: they are drawn roughly, small and blurred, "
                "until one is chosen (--vae FILE, or in the web UI). Training and the verdict need none"
            )

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
            info.contents.config.text_files()  # lie elsewhere, so that they may be gone
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
    # A link keeps its own name: in a cache of the hub, it leads to a folder called like a hash.
    name = path.name if path.name not in ("", "..") else path.resolve().name
    return CheckpointInfo(path, name, folder.family, folder)


@lru_cache(maxsize=16)
def _inspect_file(path: Path, stamps: tuple[_Stamp, ...], families: tuple[Family, ...]) -> CheckpointInfo:
    weights = open_weights(path)
    family = tell_family(weights, families)
    if isinstance(family, Foreign):
        raise UnsupportedCheckpoint(
            f"{path} is {family.what}, not {supported(families)} text-to-image checkpoint. {family.advice}"
        )
    parts = (family.parts.unet, family.parts.vae, family.parts.text)
    how = packed(weights, [name for name in weights.shapes if name.startswith(parts)])
    if how:
        raise UnsupportedCheckpoint(f"{path} is a quantised model ({how}). Choose the fp16 or fp32 version of it.")
    return CheckpointInfo(path, path.stem, family, OriginalFile(weights, read_ldm_config(weights, family, families)))


def unet_names(weights: WeightsFile, family: Family) -> list[str]:
    """Return the names of the U-Net's tensors in a file of the original layout."""
    return [name for name in weights.shapes if name.startswith(family.parts.unet)]


def ema_names(weights: WeightsFile, family: Family) -> dict[str, str] | None:
    """Return the name of the averaged version of each U-Net tensor, by its plain name; None if one is missing.

    CompVis' ``LitEma`` stores ``model.a.b`` as ``model_ema.ab``.
    """
    names = [name for name in unet_names(weights, family) if weights.dtypes[name] in FLOATS]
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
