"""What the extension asks of the program that it runs in: a web UI, or the stand-alone app."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image

_HASH = re.compile(r" \[[0-9a-fA-F]{8,64}\]$")


@dataclass(frozen=True)
class HostCheckpoint:
    """A checkpoint that the host offers: ``title`` as its selector shows it, and the file or folder it is read from."""

    title: str
    path: Path


def bare_title(title: str) -> str:
    """A title without the hash that web UIs add once they have calculated it: "x.safetensors [0123abcd]"."""
    return _HASH.sub("", title)


def same_title(one: str, other: str) -> bool:
    """Whether both name one checkpoint: equal, or equal but for a hash that only one of them has."""
    if one == other:
        return True
    # Two hashes that differ are two files.
    return bare_title(one) == bare_title(other) and not (_HASH.search(one) and _HASH.search(other))


@dataclass(frozen=True)
class TextToImage:
    """One picture for the host to draw; ``prompt`` may hold ``<lora:name:weight>``. ``size`` in pixels, 0: native."""

    prompt: str
    negative: str = ""
    seed: int = 1
    steps: int = 20
    guidance: float = 7.0
    size: int = 0


class Host(Protocol):
    """A program with a checkpoint loaded, a Lora folder, and a device that only one may use at a time."""

    name: str

    def checkpoints(self) -> list[HostCheckpoint]:
        """All that can be chosen, in the host's order."""

    def current_checkpoint(self) -> HostCheckpoint | None:
        """The one that pictures are drawn with now (selected, even if not loaded yet); None if there is none."""

    def lora_folder(self) -> Path:
        """Where LoRA files go. May not exist yet."""

    def data_folder(self) -> Path:
        """Where runs and the user's presets are kept: outside of the extension's own folder."""

    def device(self) -> str:
        """A torch device: "cuda", "cuda:1", "mps" or "cpu"."""

    def exclusive(self, title: str) -> AbstractContextManager[None]:
        """Hold the device: generation waits, the host's own model is out of its memory, and back at the end.

        Blocks until a picture that is being drawn is finished. Not re-entrant. Whatever happens inside, the lock
        is released and the model is back afterwards.
        """

    def show_progress(self, step: int, steps: int, text: str, picture: Image.Image | None = None) -> None:
        """Show progress in the host's own progress bar. Call it inside :meth:`exclusive` only."""

    def interrupted(self) -> bool:
        """Whether the user pressed the host's own Interrupt since :meth:`exclusive` was entered."""

    def draw(self, request: TextToImage) -> Image.Image:
        """A picture by the host, as its own txt2img would draw it. Takes the device itself: never call it inside
        :meth:`exclusive`. Raises: EraseError."""
