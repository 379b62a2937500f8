"""The host of the stand-alone app, which draws its pictures with our own model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from erasure.errors import OutOfMemory, RunError
from erasure.families.family import Family
from erasure.families.known import supported
from erasure.file_tree import walk
from erasure.host.always_on import FLAG, AlwaysOn, Rule
from erasure.host.base import HostCheckpoint, TextToImage
from erasure.host.kept_on import in_force
from erasure.host.lora_prompt import find_lora, split_prompt
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint
from erasure.model.opening import AS_DRAWN, Opening

if TYPE_CHECKING:
    from PIL import Image

    from erasure.lora.file import LoraFile
    from erasure.model.model import Model

_SUFFIXES = (".safetensors", ".ckpt")


@dataclass(frozen=True)
class _Loaded:
    checkpoint: Path
    stamp: float
    model: Model


class LocalHost:
    """A :class:`erasure.host.base.Host` without a web UI.

    ``checkpoints``: a checkpoint (a file, or a folder of the diffusers layout), a folder with several, or None for
    emoji-SD, which ships with the project. ``data``: the folder for LoRA files, runs and presets. ``opening``: what was
    chosen for all checkpoints. ``always``: the LoRAs that are in every picture. ``uploads``: see
    :meth:`erasure.host.base.Host.uploads`.
    """

    name = "stand-alone"

    def __init__(
        self,
        checkpoints: Path | None,
        data: Path,
        device: str | None = None,
        opening: Opening = AS_DRAWN,
        always: Sequence[Rule] = (),
        *,
        uploads: bool = False,
    ):
        if checkpoints is None:
            from emoji_sd import MODEL

            checkpoints = MODEL
        self._source = Path(checkpoints)
        self._data = Path(data)
        self._device = device
        self._opening = opening
        self._always = tuple(always)
        self._uploads = uploads
        self._selected: str | None = None
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def checkpoints(self) -> list[HostCheckpoint]:
        """Return the files and the diffusers folders below the folder, titled by their path within it.

        If the app was started with one checkpoint, it is the first, and those follow that were made here.
        """
        source = self._source
        if source.is_dir() and not _is_diffusers(source):
            return [HostCheckpoint(path.relative_to(source).as_posix(), path) for path in sorted(_checkpoints(source))]
        if not source.exists():
            return []
        made = sorted(_checkpoints(self._made)) if self._made.is_dir() else []
        titled = ((path.relative_to(self._data).as_posix(), path) for path in made)
        return [HostCheckpoint(source.name, source), *(HostCheckpoint(title, path) for title, path in titled)]

    @property
    def _made(self) -> Path:
        return self._data / "checkpoints"

    def folder_for_new(self, base: Path) -> Path:
        """Return the folder that the base lies in, or one among the data if the app was started with one checkpoint:
        around that may lie anything."""
        source = self._source
        if source.is_dir() and not _is_diffusers(source):
            return base.parent
        self._made.mkdir(parents=True, exist_ok=True)
        return self._made

    def look_for_checkpoints(self) -> None:
        """Do nothing: it looks every time."""

    def current_checkpoint(self) -> HostCheckpoint | None:
        """Return the selected one; the first if none was selected, or if the selected one is gone."""
        every = self.checkpoints()
        chosen = [checkpoint for checkpoint in every if checkpoint.title == self._selected]
        return next(iter(chosen or every), None)

    def select(self, title: str) -> None:
        """Draw with this checkpoint from now on. Raises: RunError if there is no such checkpoint."""
        titles = [checkpoint.title for checkpoint in self.checkpoints()]
        if title not in titles:
            raise RunError(f"there is no checkpoint {title!r} in {self._source}; choose one of {', '.join(titles[:5])}")
        self._selected = title

    def opening(self, checkpoint: Path) -> Opening:
        return self._opening

    def lora_folder(self) -> Path:
        return self._data / "loras"

    def data_folder(self) -> Path:
        return self._data

    def device(self) -> str:
        if self._device is None:
            from erasure.model.device import default_device

            self._device = default_device()
        return self._device

    @contextmanager
    def exclusive(self, title: str) -> Iterator[None]:
        """Hold the device, see :class:`erasure.host.base.Host`. A model on a GPU is dropped until the next picture."""
        with self._lock:
            if self.device() != "cpu":
                self._drop_model()
            yield

    def show_progress(self, step: int, steps: int, text: str, picture: Image.Image | None = None) -> None:
        """Do nothing: the only progress bar is the tab's, which follows the job."""

    def interrupted(self) -> bool:
        """Return False: the only button for that is the tab's, which stops the job."""
        return False

    def always_on(self) -> AlwaysOn:
        how = "The app was started with" if self._always else "The app keeps on what it is started with:"
        return AlwaysOn(self._always, f"{how} {FLAG}.")

    def set_always_on(self, rules: Sequence[Rule]) -> None:
        raise RunError(self.always_on().fixed)

    def uploads(self) -> bool:
        return self._uploads

    def draw(self, request: TextToImage) -> Image.Image:
        """Return a picture by deterministic DDIM with classifier-free guidance. Waits while the device is held.

        Raises: LoraFileError, among others, if a LoRA that is always on cannot be: nothing is drawn without it.
        """
        prompt, tags = split_prompt(request.prompt)
        _check(request, self._checkpoint().family)
        with self._lock:
            import torch

            try:
                return self._draw(request, prompt, tags)
            except torch.cuda.OutOfMemoryError as error:
                self._drop_model()
                raise OutOfMemory(
                    "the device ran out of memory while drawing; choose a smaller size, or close other programs"
                ) from error

    def _draw(self, request: TextToImage, prompt: str, tags: list[tuple[str, float]]) -> Image.Image:
        import torch

        from erasure.lora.file import read_lora
        from erasure.lora.fit import match_lora
        from erasure.lora.model_adapter import model_shapes

        model = self._load().model
        wanted = [(find_lora(self.lora_folder(), name), weight) for name, weight in tags]
        files = [(read_lora(path), weight) for path, weight in self._with_always_on(wanted)]
        for file, _ in files:
            match_lora(file, model_shapes(model.parts.modules), model.parts.info.family)
        noise = model.noise(torch.Generator().manual_seed(request.seed), request.size)[None]
        given, null = model.embed([prompt, request.negative])
        with _worn(model, files) if files else nullcontext(), torch.no_grad():
            latents = model.sample(given, noise, steps=request.steps, guidance=request.guidance, null=null)
            return model.decode(latents[0])

    def _with_always_on(self, wanted: Sequence[tuple[Path, float]]) -> list[tuple[Path, float]]:
        """Return files with weights: those that are always on, and those wanted that are none of them."""
        checkpoint = self.current_checkpoint()
        rules = in_force(self._always, () if checkpoint is None else (checkpoint.title,))
        kept = [(find_lora(self.lora_folder(), rule.lora), rule.weight) for rule in rules]
        free = [(path, weight) for path, weight in wanted if not any(path.samefile(other) for other, _ in kept)]
        return [*free, *kept]

    def _checkpoint(self) -> CheckpointInfo:
        checkpoint = self.current_checkpoint()
        if checkpoint is None:
            raise RunError(f"there is no checkpoint in {self._source}; put {supported()} checkpoint there")
        return inspect_checkpoint(checkpoint.path).opened(self._opening)

    def _load(self) -> _Loaded:
        info = self._checkpoint()
        path, stamp = info.path, info.path.stat().st_mtime
        if self._loaded is not None and (self._loaded.checkpoint, self._loaded.stamp) == (path, stamp):
            return self._loaded
        self._drop_model()  # never two models at once

        from erasure.config.settings import Precision
        from erasure.model.model import open_model

        precision: Precision = "fp16" if self.device().startswith("cuda") else "fp32"
        model = open_model(info, precision=precision, device=self.device())
        self._loaded = _Loaded(path, stamp, model)
        return self._loaded

    def _drop_model(self) -> None:
        if self._loaded is None:
            return
        import torch

        self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def _worn(model: Model, files: list[tuple[LoraFile, float]]) -> Iterator[None]:
    """Put the LoRA files on the model, and take them off at the end."""
    from erasure.lora.combine import merge_loras
    from erasure.lora.model_adapter import inject_lora_file, remove_model_lora

    inject_lora_file(model.parts.modules, merge_loras(files), 1.0)
    try:
        yield
    finally:
        remove_model_lora(model.parts.modules)


def _check(request: TextToImage, family: Family) -> None:
    most, step = family.schedule.steps, family.pixels_per_latent
    if not 1 <= request.steps <= most:
        raise RunError(f"a picture needs 1 to {most} steps, not {request.steps}")
    if request.size < 0 or request.size % step:
        raise RunError(
            f"a picture's size must be 0 (the checkpoint's own) or a multiple of {step} pixels, not {request.size}"
        )


def _is_diffusers(path: Path) -> bool:
    return (path / "model_index.json").is_file()


def _checkpoints(source: Path) -> Iterator[Path]:
    for folder, folders, files in walk(source):
        # The weights in a diffusers folder are not checkpoints of their own.
        for name in [name for name in folders if _is_diffusers(folder / name)]:
            folders.remove(name)
            yield folder / name
        yield from (folder / name for name in files if _is_checkpoint(folder / name))


def _is_checkpoint(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(_SUFFIXES) and not name.endswith((".vae.safetensors", ".vae.ckpt")) and path.exists()
