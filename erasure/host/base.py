"""What is asked of the program that we run in: a web UI, or the stand-alone app."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from erasure.host.always_on import AlwaysOn, Rule
from erasure.model.opening import Opening

if TYPE_CHECKING:
    from PIL import Image

_HASH = re.compile(r" \[[0-9a-fA-F]{8,64}\]$")


@dataclass(frozen=True)
class HostCheckpoint:
    """A checkpoint that the host offers: ``title`` as its selector shows it, and the file or folder it is read from."""

    title: str
    path: Path


def bare_title(title: str) -> str:
    """Return a title without the hash that web UIs add once they know it: "x.safetensors [0123abcd]"."""
    return _HASH.sub("", title)


def same_title(one: str, other: str) -> bool:
    """Return whether both name one checkpoint: equal, or equal except for a hash that only one of them has."""
    if one == other:
        return True
    # Two different hashes are two files.
    return bare_title(one) == bare_title(other) and not (_HASH.search(one) and _HASH.search(other))


@dataclass(frozen=True)
class TextToImage:
    """One picture for the host to draw; ``prompt`` may hold ``<lora:name:weight>``. ``size`` is in pixels, 0
    for the checkpoint's own."""

    prompt: str
    negative: str = ""
    seed: int = 1
    steps: int = 20
    guidance: float = 7.0
    size: int = 0


class Host(Protocol):
    """A program with a checkpoint, a Lora folder, and a device that only one may use at a time."""

    name: str

    def checkpoints(self) -> list[HostCheckpoint]:
        """Return all that can be chosen, in the host's order."""

    def current_checkpoint(self) -> HostCheckpoint | None:
        """Return the one that pictures are drawn with (selected, even if not loaded yet); None if there is none."""

    def opening(self, checkpoint: Path) -> Opening:
        """Return with which of a checkpoint's weights the host draws, and the VAE that is chosen in it."""

    def folder_for_new(self, base: Path) -> Path:
        """Return the folder for a checkpoint that is made of the one at ``base``: one that the host looks into."""

    def look_for_checkpoints(self) -> None:
        """Look again which checkpoints there are."""

    def lora_folder(self) -> Path:
        """Return the folder of LoRA files. It may not exist yet."""

    def data_folder(self) -> Path:
        """Return the folder of runs and of the user's presets, outside the extension's own folder."""

    def device(self) -> str:
        """Return a torch device: "cuda", "cuda:1", "mps" or "cpu"."""

    def exclusive(self, title: str) -> AbstractContextManager[None]:
        """Hold the device: the host draws nothing meanwhile, and its own model is out of the device's memory.

        Blocks until a picture that is being drawn is finished. Not re-entrant. Whatever happens inside, the lock
        is released and the model is back afterwards.
        """

    def show_progress(self, step: int, steps: int, text: str, picture: Image.Image | None = None) -> None:
        """Show progress in the host's own progress bar. Only called inside :meth:`exclusive`."""

    def interrupted(self) -> bool:
        """Return whether the user pressed the host's own Interrupt since :meth:`exclusive` was entered."""

    def always_on(self) -> AlwaysOn:
        """Return the LoRAs that are kept on in every picture that the host draws, and whether that can be changed."""

    def set_always_on(self, rules: Sequence[Rule]) -> None:
        """Replace the list, for this and later starts. Raises: RunError if it is fixed."""

    def uploads(self) -> bool:
        """Return whether whoever can open the page may publish shared LoRAs with the login of this machine."""

    def draw(self, request: TextToImage) -> Image.Image:
        """Return a picture as the host's own txt2img would draw it, with the LoRAs that are always on.

        It takes the device itself, so it must not be called inside :meth:`exclusive`. Raises: EraseError.
        """
