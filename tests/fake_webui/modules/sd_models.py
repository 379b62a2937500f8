"""Checkpoints and the loaded model, which is never moved to the device again by itself."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from modules import devices, paths_internal, shared

model_path = os.path.join(paths_internal.models_path, "Stable-diffusion")  # noqa: PTH118
checkpoints_list: dict[str, CheckpointInfo] = {}
checkpoint_aliases: dict[str, CheckpointInfo] = {}


class CheckpointInfo:
    """A checkpoint. Its hash, and with it another title, comes when the file is first loaded."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        inside = Path(model_path) in Path(filename).parents
        self.name = str(Path(filename).relative_to(model_path)) if inside else Path(filename).name
        self.sha256: str | None = None
        self.shorthash: str | None = None
        self.title = self.name
        self.ids = [self.name, Path(filename).stem]

    def register(self) -> None:
        checkpoints_list[self.title] = self
        for id in [*self.ids, self.title]:
            checkpoint_aliases[id] = self

    def calculate_shorthash(self) -> str:
        self.sha256 = hashlib.sha256(Path(self.filename).read_bytes()).hexdigest()
        self.shorthash = self.sha256[:10]
        before, self.title = self.title, f"{self.name} [{self.shorthash}]"
        every = [(self.title if title == before else title, info) for title, info in checkpoints_list.items()]
        checkpoints_list.clear()
        checkpoints_list.update(every)  # in its old place
        self.register()
        return self.shorthash


def list_models() -> None:
    """Look which checkpoints there are. One that was given as ``--ckpt`` becomes the selected one, every time."""
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    if Path(shared.cmd_opts.ckpt).exists():
        given = CheckpointInfo(shared.cmd_opts.ckpt)
        given.register()
        shared.opts.data["sd_model_checkpoint"] = given.title
    for path in sorted(Path(model_path).rglob("*")):
        if path.suffix in (".safetensors", ".ckpt"):
            CheckpointInfo(str(path)).register()


def select_checkpoint() -> CheckpointInfo | None:
    """Return the selected checkpoint. Raises: FileNotFoundError if there is none."""
    chosen = checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
    if chosen is not None:
        return chosen
    if not checkpoints_list:
        raise FileNotFoundError("No checkpoints found.")
    return next(iter(checkpoints_list.values()))


class Model:
    def __init__(self, checkpoint: CheckpointInfo) -> None:
        self.sd_checkpoint_info = checkpoint
        self.device: Any = None
        self.is_sd1 = True


class SdModelData:
    def __init__(self) -> None:
        self.sd_model: Any = None
        self.was_loaded_at_least_once = False
        self.lock = threading.Lock()

    def get_sd_model(self) -> Any:
        """Return the model, which is loaded first if need be, without the queue's lock."""
        if not self.was_loaded_at_least_once:
            with self.lock:
                if not self.was_loaded_at_least_once:
                    load_model()
        return self.sd_model

    def set_sd_model(self, v: Any) -> None:
        self.sd_model = v


model_data = SdModelData()


def load_model(checkpoint_info: CheckpointInfo | None = None) -> Any:
    checkpoint = checkpoint_info or select_checkpoint()
    assert checkpoint is not None
    checkpoint.calculate_shorthash()
    shared.opts.data["sd_model_checkpoint"] = checkpoint.title
    model = Model(checkpoint)
    send_model_to_device(model)
    model_data.set_sd_model(model)
    model_data.was_loaded_at_least_once = True
    return model


def reload_model_weights(sd_model: Any = None, info: Any = None) -> Any:
    """Load the selected checkpoint if another is loaded."""
    checkpoint: Any = info or select_checkpoint()
    loaded = sd_model or model_data.sd_model
    if loaded is not None and loaded.sd_checkpoint_info.filename == checkpoint.filename:
        return loaded
    return load_model(checkpoint)


def unload_model_weights(sd_model: Any = None, info: Any = None) -> Any:
    """Move the model to the CPU. Without an argument it asks for ``shared.sd_model``, which loads it."""
    send_model_to_cpu(sd_model or shared.sd_model)
    return sd_model


def send_model_to_cpu(m: Any) -> None:
    if m is not None:
        m.device = devices.cpu
    devices.torch_gc()


def send_model_to_device(m: Any) -> None:
    m.device = devices.device
