"""What is to be baked, checked before any work: checkpoint, LoRAs, the place of the result, room on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erasure.bake.companions import Companions, companions
from erasure.bake.folder_files import FolderFiles, folder_files
from erasure.bake.label import baked_before
from erasure.errors import OutputExists, OutputRefused, RunError, UnsupportedCheckpoint
from erasure.lora.weight import check_weights
from erasure.model.checkpoint import CheckpointInfo, OriginalFile, inspect_checkpoint
from erasure.model.layer_search import find_layers
from erasure.model.model_layers import LayerPlace, ModelLayers
from erasure.model.weights_file import SMALL_FLOATS, WeightsFile
from erasure.run.output import check_output

if TYPE_CHECKING:
    from erasure.lora.file import LoraFile

_SUFFIX = ".safetensors"
_HEADERS = 2**20  # bytes of disk for metadata, file system and rounding


@dataclass(frozen=True)
class BakeTask:
    """A checkpoint that is to get the change of LoRAs into its weights.

    ``loras``: each with its weight, as in ``<lora:name:weight>``. ``out``: the file, or the folder of the diffusers
    layout. ``places``: the weights that change. ``folder``: of the diffusers layout, which files become what;
    ``companions``: of a single file, what is copied along. ``notes``: what people should know, one line each.
    """

    checkpoint: CheckpointInfo
    loras: tuple[tuple[LoraFile, float], ...]
    out: Path
    overwrite: bool
    places: tuple[LayerPlace, ...]
    folder: FolderFiles | None = None
    companions: Companions = field(default_factory=Companions)
    notes: tuple[str, ...] = ()

    @property
    def written(self) -> tuple[WeightsFile, ...]:
        """The files of weights that are written anew."""
        if self.folder is not None:
            return tuple(file for file, _ in self.folder.baked)
        return tuple({place.file.path: place.file for place in self.places}.values())


def bake_task(checkpoint: Path, loras: Sequence[tuple[Path, Any]], out: Path, *, overwrite: bool = False) -> BakeTask:
    """Read what is to be baked: headers of the checkpoint, and the LoRAs, layer by layer; nothing is written.

    ``loras``: files with weights. Raises: ConfigError for weights that cannot be used, or a file given twice;
    OutputExists, OutputRefused; CheckpointError; LoraFileError if a file is no LoRA for this model; RunError if
    there is no room on the disk.
    """
    check_weights(loras)
    folder = checkpoint.is_dir()
    _check_out(checkpoint, [path for path, _ in loras], out, folder=folder, overwrite=overwrite)
    info = inspect_checkpoint(checkpoint)
    layers = find_layers(info)
    files, places = _fitting(loras, info, layers)
    _check_numbers(places)
    beside = companions(info, out, overwrite=overwrite)
    task = BakeTask(info, files, out, overwrite, places, folder_files(info, places) if folder else None, beside)
    _check_room(task)
    return replace(task, notes=(*_notes(task), *beside.notes))


def _fitting(
    loras: Sequence[tuple[Path, Any]], info: CheckpointInfo, layers: ModelLayers
) -> tuple[tuple[tuple[LoraFile, float], ...], tuple[LayerPlace, ...]]:
    """Return the LoRAs with their weights, and the places of what they change. Raises: LoraFileError."""
    # Not before: what they need of torch would lie in memory beside all that finds the layers.
    from erasure.lora.file import module_key, read_lora
    from erasure.lora.fit import match_lora

    files = tuple((read_lora(path, held=False), float(weight)) for path, weight in loras)
    for file, _ in files:
        match_lora(file, layers.shapes, info.family)
    changed = {module for file, _ in files for module in file.modules}
    return files, tuple(place for place in layers.places if module_key(place.layer, info.family) in changed)


def _check_out(checkpoint: Path, loras: Sequence[Path], out: Path, *, folder: bool, overwrite: bool) -> None:
    """Raises: OutputExists, OutputRefused."""
    for source, what in ((checkpoint, "the checkpoint itself"), *((lora, "one of the LoRAs") for lora in loras)):
        if _same(source, out):
            raise OutputRefused(f"the output {out} is {what}, which stays as it is; choose another name")
    if not folder:
        check_output(out, overwrite=overwrite)
        return
    if out.suffix.lower() in (_SUFFIX, ".ckpt"):
        raise OutputRefused(f"the checkpoint is a diffusers folder, so {out.name} would be one, too; name a folder")
    if out.exists() or out.is_symlink():
        # A folder may hold anything; what is in it is never thrown away.
        raise OutputExists(f"{out} exists, and a folder is not overwritten; choose another name, or remove it")
    if checkpoint.resolve() in out.resolve().parents:
        raise OutputRefused(f"the output {out} is to lie inside of the checkpoint's own folder; choose another place")
    if not out.parent.is_dir():
        raise OutputRefused(
            f"the output {out} is to lie in the folder {out.parent}, which does not exist; create it, or choose "
            "another place"
        )


def _same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, ValueError):  # one of them is not there, or no name of a file
        return False


def _check_numbers(places: Sequence[LayerPlace]) -> None:
    """Raises: UnsupportedCheckpoint for weights in which hardly anything of the change would be left."""
    for place in places:
        if place.dtype in SMALL_FLOATS:
            raise UnsupportedCheckpoint(
                f"{place.file.path} has weights of 8 bits, such as {place.name}: rounding to them would take most of "
                "what a LoRA changes. Bake into the fp16 or fp32 version of it."
            )


def _check_room(task: BakeTask) -> None:
    """Raises: RunError if the disk has not the room."""
    paths = [task.checkpoint.path] if task.folder is None else [file for file, _ in task.folder.every]
    needed = sum(path.stat().st_size for path in paths) + _HEADERS
    try:
        free = shutil.disk_usage(task.out.parent).free
    except OSError:  # a file system that does not tell
        return
    if free < needed:
        raise RunError(
            f"{task.out.name} needs {needed / 2**20:,.0f} MB on the disk, of which {free / 2**20:,.0f} MB are free; "
            "free some, or choose another place"
        )


def _notes(task: BakeTask) -> Iterator[str]:
    info = task.checkpoint
    name = info.path.name
    if any(place.averaged for place in task.places):
        yield f"{name} has averaged (EMA) weights beside plain ones: both are changed"
    if any(file.pickled is not None for file in task.written):
        yield f"{name} is a pickle; what is written is a .safetensors file with the same weights in the same order"
    if task.folder is not None and task.folder.left_out:
        yield (
            "left out, because they hold weights as they were: "
            + ", ".join(path.as_posix() for path in task.folder.left_out)
        )
    if not isinstance(info.contents, OriginalFile):
        return
    before = {
        str(lora.get("name"))
        for baked in baked_before(info.contents.weights.metadata)
        for lora in baked.get("loras", ())
        if isinstance(lora, dict)
    }
    for file, _ in task.loras:
        if file.path.stem in before:
            yield f"{name} says that {file.path.stem} was baked into it before; it is now in it once more"
