"""A VAE apart from its checkpoint: a file such as web UIs keep in their VAE folder, or a diffusers folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure.errors import BrokenCheckpoint, UnsupportedCheckpoint
from erasure.families.family import Family
from erasure.model.diffusers_folder import PARTS as FOLDERS
from erasure.model.diffusers_folder import read_config, weights_in
from erasure.model.packing import packed
from erasure.model.weights_file import WeightsFile, open_weights

PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_FIRST = "decoder.conv_in.weight"  # (channels, latent channels, 3, 3), in the names of either layout


@dataclass(frozen=True)
class VaeFile:
    """A VAE that was found: ``prefix`` of its names in the ``weights``; ``config`` of diffusers, None: that of SD."""

    path: Path
    weights: tuple[WeightsFile, ...]
    prefix: str = ""
    config: Mapping[str, Any] | None = None

    def names(self, weights: WeightsFile) -> list[str]:
        """Return the names of the VAE's weights in one of the files."""
        starts = tuple(self.prefix + part for part in PARTS)
        return [name for name in weights.shapes if name.startswith(starts)]

    @property
    def decodes(self) -> bool:
        """Whether it has a decoder."""
        return any(name.startswith(f"{self.prefix}decoder.") for file in self.weights for name in file.shapes)


def read_vae(path: Path, family: Family) -> VaeFile:
    """Read the header of a VAE in one file, of the VAE in a checkpoint, or of a diffusers folder of either kind.

    Raises: BrokenCheckpoint if it is missing or damaged; UnsupportedCheckpoint if it is no VAE, or one for other
    latents than the family's.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise BrokenCheckpoint(f"There is no VAE at {path}. Check the path.")
        vae = _read_folder(path) if path.is_dir() else _read_file(path, family)
    except OSError as error:
        raise BrokenCheckpoint(f"{path} cannot be read ({error}). Check the path and permissions.") from error
    first = next((file.shapes[vae.prefix + _FIRST] for file in vae.weights if vae.prefix + _FIRST in file.shapes), ())
    if len(first) != 4:
        raise UnsupportedCheckpoint(
            f"{path} is not a VAE that can decode pictures: it lacks {_FIRST}. Choose a VAE for {family.name}."
        )
    if first[1] != family.latent_channels:
        raise UnsupportedCheckpoint(
            f"{path} is a VAE for latents of {first[1]} channels, where {family.short} has {family.latent_channels}. "
            f"Choose a VAE for {family.name}."
        )
    for file in vae.weights:
        how = packed(file, vae.names(file))
        if how:
            raise UnsupportedCheckpoint(f"{path} is a quantised VAE ({how}). Choose the fp16 or fp32 version of it.")
    return vae


def _read_file(path: Path, family: Family) -> VaeFile:
    weights = open_weights(path)
    prefixes = ("", family.parts.vae, "vae.")
    prefix = next((prefix for prefix in prefixes if prefix + _FIRST in weights.shapes), "")
    return VaeFile(path, (weights,), prefix)


def _read_folder(path: Path) -> VaeFile:
    folder = path if (path / "config.json").is_file() else path / "vae"
    files = weights_in(folder, FOLDERS["vae"])
    return VaeFile(path, tuple(map(open_weights, files)), config=read_config(folder / "config.json"))
